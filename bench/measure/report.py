"""Results: samples per contender, medians, the table."""

import dataclasses
import os
import statistics


@dataclasses.dataclass
class Result:
    workload: str
    unit: str
    baseline: str  # the contender the ratios refer to
    bigger_is_better: bool
    target: float | None = None  # least ratio to the baseline, or most of the unit when there is no baseline
    samples: dict = dataclasses.field(default_factory=dict)  # contender -> list, one per round

    def add(self, contender, value):
        self.samples.setdefault(contender, []).append(value)

    def median(self, contender):
        return statistics.median(self.samples[contender])

    def ratio(self, contender):
        """The median of the rounds' own ratios: both sides of one met the same load."""
        if self.baseline not in self.samples:
            return None
        pairs = zip(self.samples[contender], self.samples[self.baseline])
        return statistics.median(value / base if self.bigger_is_better else base / value for value, base in pairs)


def interleave(result_list, contenders, rounds, measure):
    """measure(contender) -> one value per result; the order of the contenders turns each round."""
    names = list(contenders)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            for result, value in zip(result_list, measure(name)):
                result.add(name, value)
    return result_list


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


ORDER = ["local", "source", "larder", "object", "rclone", "bindfs", "passthrough_hp"]


def table(results):
    contenders = sorted({name for result in results for name in result.samples},
                        key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    lines = ["| workload | unit | " + " | ".join(contenders) + " | wanted |",
             "|---|---|" + "---|" * (len(contenders) + 1)]
    for result in results:
        cells = []
        for name in contenders:
            if name not in result.samples:
                cells.append("-")
                continue
            cell = number(result.median(name))
            ratio = result.ratio(name)
            if ratio is not None and name != result.baseline:
                cell += f" ({ratio:.2f})"
            cells.append(cell)
        wanted = ""
        if result.target is not None:
            wanted = (f">= {result.target:g} x {result.baseline}" if result.baseline
                      else f"<= {result.target:g} {result.unit}")
        lines.append(f"| {result.workload} | {result.unit} | " + " | ".join(cells) + f" | {wanted} |")
    return "\n".join(lines)


def as_json(results, arguments):
    return {
        "settings": {key: value for key, value in vars(arguments).items()
                     if key not in ("place", "build", "json", "passthrough_hp")},
        "machine": {"processors": os.cpu_count(), "kernel": os.uname().release.split("-")[0],
                    "load": os.getloadavg()[0]},
        "results": [{"workload": r.workload, "unit": r.unit, "baseline": r.baseline, "target": r.target,
                     "samples": r.samples,
                     "medians": {name: r.median(name) for name in r.samples},
                     "ratios": {name: r.ratio(name) for name in r.samples}} for r in results],
    }
