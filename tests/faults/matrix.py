"""The fault matrix: what may go wrong in a run over many scenes, and what must come of it.

Tests say by ``@pytest.mark.fault(NUMBER, "how it is injected")`` which row they show; ``make fault-matrix`` runs them
and writes docs/fault-matrix.md.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        number: What tests call it.
        fault: What goes wrong.
        expected: What must come of it.
    """

    number: int
    fault: str
    expected: str


ROWS = tuple(
    Row(number, fault, expected)
    for number, (fault, expected) in enumerate(
        (
            (
                "A worker is killed in the middle of a scene",
                "Nothing half-written is visible; the scene is tried on another worker; the result is the same",
            ),
            (
                "A worker is killed after its files are whole and before they are committed",
                "The next attempt commits; there is exactly one commit",
            ),
            (
                "Two runs work on one scene at the same time",
                "One commits; the other finds that and ends well, and its files go",
            ),
            (
                "A worker that was given up wakes after another has committed in its place",
                "It can write only where nobody reads; no reader sees a change",
            ),
            ("The answer to the commit is lost on its way", "The commit is recognised as one's own and counts as done"),
            (
                "The store asks for fewer requests",
                "Requests are repeated with growing, scattered waits, and fewer at once; the run goes on",
            ),
            ("The store stalls in the middle of an answer", "The request ends at its deadline and is repeated"),
            (
                "What is read is cut short, or has a flipped bit",
                "It is never passed on: read again, then named as damaged, found by fsck and computed again",
            ),
            (
                "A stored chunk is gone or empty",
                "The record shows it; a fill value is never taken for a measurement",
            ),
            (
                "The disk or the quota is full",
                "An error that says so; what is committed stays; the run can go on later",
            ),
            (
                "The store refuses the key, or the key expires",
                "The key is looked up anew once; then the whole run ends, not every scene of it",
            ),
            ("The bucket does not exist", "The run ends before any model is used"),
            (
                "A device has no memory left",
                "The scene is tried once more with all of a fresh worker's memory; then it has a row with the reason",
            ),
            ("The host kills a worker for its memory, again and again", "As many tries as allowed, then quarantine"),
            (
                "A worker crashes, or its device fails",
                "The worker is replaced, the scene tried again; a scene that kills every worker is quarantined",
            ),
            ("A worker hangs", "The silence is noticed within the limit and the worker is replaced"),
            ("A machine is taken away", "Its scenes are tried elsewhere; that uses up none of their other tries"),
            ("The driver or the head node dies", "A new run goes on from what is committed and computes nothing twice"),
            ("Prefect's server is away during a run", "The work goes on; what is committed says how it ended"),
            ("A run is cancelled", "Its workers stop within a minute; nothing half-written is visible"),
            ("A run dies before its first sign of life", "It is reported as crashed all the same"),
            (
                "An operator has a defect and scenes fail alike",
                "The run stops with one error that groups them, instead of failing on every scene",
            ),
            (
                "One scene is poison",
                "It is quarantined after its tries; the others are not touched; the exit code says partial",
            ),
            (
                "A pose is NaN, infinite, mirrored or sheared",
                "The view is dropped with a reason; the scene fails only if too few are left",
            ),
            (
                "Images are missing, left over, listed twice or spelt in other case",
                "Views are joined with images by name, never by position; what is left out is counted",
            ),
            (
                "An image is cut, empty, wrongly named, CMYK, 16 bit, with alpha, animated, turned or grey",
                "It is decoded by a rule, or its view is dropped with a reason; nothing crashes",
            ),
            (
                "A small file unpacks to a huge one",
                "It is refused by what its header says, in bounded memory",
            ),
            (
                "Names in other Unicode forms, with emoji, spaces or escapes, too long, or leading out of the scene",
                "Harmless names work and are kept; what leads out is refused; keys of the store are plain ASCII",
            ),
            (
                "Scenes of no view, of one, of ten thousand; images of 20 megapixels",
                "A clear error, or work in bounded time and memory",
            ),
            (
                "A model gives NaN, another shape or type, or a constant",
                "An error that names the operator and the view; a constant is an answer like any other",
            ),
            (
                "Features are beyond the range of float16",
                "They are held to its largest number, never infinite; how many is counted and shown",
            ),
            ("A model answers differently each time", "The first commit stands; who comes second reads it"),
            (
                "Settings, weights or code change between runs",
                "Other results lie beside the old ones, which stay as they were",
            ),
            ("Images change after their results are committed", "The old results are not taken for the new images'"),
            ("Clocks of machines differ", "Nothing is decided by comparing clocks, except what is old enough to go"),
            ("Weights are missing, damaged or not what they should be", "The run ends before its first scene"),
            ("Workers of another version join", "They refuse the work, or are refused"),
            ("One scene takes as long as all others together", "Long scenes begin first, and each has its deadline"),
            ("Listings are stale, or have millions of entries", "What is committed is found by its key, not by a list"),
            ("Making the tables is interrupted", "They are made again from what is committed, to the same bytes"),
        ),
        start=1,
    )
)

# Rows that no test shows, each with the reason: it needs a GPU or a cloud.
NOT_AUTOMATED: dict[int, str] = {}
MOST_NOT_AUTOMATED = 6
