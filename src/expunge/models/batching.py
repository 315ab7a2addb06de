"""Which rows go through the model together, in training and evaluation: by length, so that little is padding."""

from collections.abc import Iterator, Sequence


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Row numbers sorted by length; ties as they stand."""
    return sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))


def by_length(lengths: Sequence[int], budget: int | None = None, overhead: int | None = None) -> Iterator[list[int]]:
    """Cut rows into batches, longest first, so that running out of memory happens at once or never.

    Args:
        lengths: Tokens of each row.
        budget: The most tokens of a batch, padding included; a longer row is a batch by itself.
        overhead: What another batch costs, in tokens: a batch ends where its padding would cost more.
    """
    batch: list[int] = []
    padding = 0
    for i in longest_first(lengths):
        more = lengths[batch[0]] - lengths[i] if batch else 0
        full = batch and budget is not None and max(1, lengths[batch[0]]) * (len(batch) + 1) > budget
        if full or (overhead is not None and padding + more > overhead):
            yield batch
            batch, padding, more = [], 0, 0
        batch.append(i)
        padding += more
    if batch:
        yield batch


def deal(costs: Sequence[int], room: Sequence[int]) -> list[list[int]]:
    """Distribute rows, largest first, each to the part that has least so far and still has room.

    Args:
        costs: Of each row.
        room: How many rows each of the takers has room for.

    Returns:
        Row numbers by taker.
    """
    members: list[list[int]] = [[] for _ in room]
    loads = [0] * len(room)
    for i in longest_first(costs):
        least = min((k for k in range(len(room)) if len(members[k]) < room[k]), key=lambda k: (loads[k], k))
        members[least].append(i)
        loads[least] += costs[i]
    return members


def cut_into(rows: Sequence[int], size: int) -> list[list[int]]:
    """Pieces of `size` rows, the last of what is left."""
    return [list(rows[at : at + size]) for at in range(0, len(rows), size)]


def by_prompt(prompts: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Rows that begin with the same prompt, together; the longest prompts first, so that neighbours are alike."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(i)
    return [groups[prompt] for prompt in sorted(groups, key=lambda prompt: (-len(prompt), groups[prompt][0]))]
