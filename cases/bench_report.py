"""What the budgets of `harness report` are measured with: a million records, and the page of 10,000 cells in a browser.

Run from the checkout's root: ``python -m cases.bench_report``.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from fixtures import browser as browsers
from fixtures.nights import MODES, RULES, RUNNERS, Task, run_record, verdict_record

PAINT = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
FILTER = """
const field = document.getElementById("filter"), times = [];
for (const text of ["n", "na", "nano", "compiled", "width-mismatch", "model-17 fake", "zzz", ""]) {
  field.value = text;
  const start = performance.now();
  field.dispatchEvent(new Event("input"));
  document.body.offsetHeight;
  times.push(performance.now() - start);
}
return times;
"""


def status(task: Task, place: int) -> str:
    """About one verdict in fifty is a finding, and one in 10,000 of them comes or goes."""
    return "findings" if (place % 50 == 0 or (place + task.night) % 10_000 == 1) else "ok"


def write(folder: Path, nights: int, models: int, tokens: int) -> int:
    """A file for each runner and night; the number of records."""
    count = 0
    for night in range(nights):
        for runner in RUNNERS:
            every = [
                Task(runner, night, f"model-{model:03}", rule, kernel, token, mode)
                for model in range(models)
                for rule in RULES
                for kernel in ("wide", "narrow")
                for token in range(tokens)
                for mode in MODES
            ]
            run = run_record(runner, night, every)
            count += 1 + len(every)
            with (folder / f"{runner}-{night}.jsonl").open("w") as file:
                file.write(json.dumps(run) + "\n")
                for place, task in enumerate(every):
                    file.write(json.dumps(verdict_record(task, status(task, place), {}, run["run"])) + "\n")
    return count


def report(folder: Path, page: Path, history: Path) -> None:
    """Run the command in a process of its own, and print its cost."""
    command = [sys.executable, "-m", "harness", "report", str(folder), "-o", str(page), "--history", str(history)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sizes = f"history {history.stat().st_size / 1e6:.0f} MB, page {page.stat().st_size / 1e6:.1f} MB"
    took = f"{time.perf_counter() - start:.1f} s, {processor:.1f} s of processor time"
    print(f"  {took}, {after.ru_maxrss / 1e3:.0f} MB of memory; {sizes}", flush=True)


def painted(browser: browsers.Browser) -> float:
    """Milliseconds from the start of loading to the first paint with content."""
    end = time.monotonic() + 30
    while (value := browser.run(PAINT)) is None and time.monotonic() < end:
        time.sleep(0.05)
    return float(value)


def browse(page: Path) -> None:
    """Print the page's times in the browser."""
    with browsers.opened() as browser:
        paints, filters = [], []
        for _ in range(5):
            browser.open(page, "#matrix")
            paints.append(painted(browser))
            filters.append(browser.run(FILTER))
        print(f"  first paint: median {median(paints):.0f}, best {min(paints):.0f} ms (budget 1,000)")
        # A loaded machine makes any one of them slow: of each filter the best of its runs.
        best = [min(times) for times in zip(*filters, strict=True)]
        print(f"  filter: median {median(best):.0f}, slowest {max(best):.0f} ms (budget 100)")


def main() -> None:
    """Both budgets."""
    with tempfile.TemporaryDirectory() as place:
        # 3 runners x 105 models x 4 backends x 8 modes are 10,080 cells; of 10 token counts each, on 10 nights.
        for title, nights, tokens in (("10,000 cells", 3, 1), ("1,000,000 records", 10, 10)):
            folder = Path(place) / f"{nights}"
            folder.mkdir()
            count = write(folder, nights, 105, tokens)
            print(
                f"{title}: {count:,} records, {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.0f} MB",
                flush=True,
            )
            report(folder, folder.with_suffix(".html"), folder.with_suffix(".sqlite"))
            if why := browsers.missing():
                print(f"  not opened in a browser: {why}")
            else:
                browse(folder.with_suffix(".html"))


if __name__ == "__main__":
    main()
