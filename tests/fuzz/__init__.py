"""Made-up input by the thousand: ``python -m tests.fuzz.run``; ``tests/outside/test_fuzzed.py`` tries a few of each."""
