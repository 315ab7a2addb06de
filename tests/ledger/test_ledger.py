"""Requests over time, through the command line."""

from expunge.ledger import Ledger


def test_a_first_look(begun, expunge):
    folder = begun("r1", "r2")
    import time
    t=time.time()
    print(expunge("ledger", "run", folder, "--quiet"))
    print(time.time()-t)
    print(expunge("ledger", "status", folder).out)
    print(expunge("ledger", "verify", folder).out)
    print(expunge("ledger", "report", folder, "--out", folder.parent / "page.html").out)
    for r in Ledger(folder).store.records(): print(r.number, r.kind, str(r.body)[:1500])
    import subprocess
    print(subprocess.run(["find", str(folder)], capture_output=True, text=True).stdout)
    assert 0
