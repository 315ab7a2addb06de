"""The passes over a model: what must be measured, once each, and the values it gives."""
