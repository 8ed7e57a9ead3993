"""Results whose every name tries to become something else."""

from __future__ import annotations

from functools import cache

from dense_results import dense_shift, example
from results import make_result

from equiaudit.results import ReceptiveField, Result, Skipped

NAMES = (
    "<script>alert(1)</script>.png",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "a|b|c.png",
    "[click](https://evil.example/)",
    "![pixel](https://evil.example/p.png)",
    "`code` ``more``",
    "x](javascript:alert(1))",
    "\x1b[31mred\x1b[0m\x1b]8;;https://evil.example\x07link\x1b]8;;\x07",
    "two\nlines\r\n# heading",
    "::error file=app.py::pwned",
    "\n::set-output name=a::b",
    "##[error]old",
    "cdata ]]> end",
    "&lt;b&gt; &#60;i&#62; &amp;",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u2066",
    "nul\x00bell\x07del\x7fcsi\x9b31m",
    "https://evil.example www.evil.example me@evil.example @someone #12",
    "--><!--",
    "</style></title></code></pre>",
    "trailing backslash\\",
    "\\|\\`<b>",
    "",
    "   ",
    "n" * 5000,
)


@cache
def _base() -> Result:
    return make_result(kinds=("circular", "crop"), radius=2, period=2, n=50)


def hostile_result(name: str) -> Result:
    """`name` wherever a result takes text from a file, a model or another's result.json."""
    base = _base()
    shift = base.shifts["circular"]
    kind = name or "circular"
    return base.model_copy(
        update={
            "fingerprint": base.fingerprint.model_copy(
                update={"model": name, "preprocess": {name: name, "source": {name: name}}}
            ),
            "tool_version": name,
            "settings": {"shifts": [name], name: name},
            "class_names": dict.fromkeys(range(10), name),
            "shifts": {
                kind: shift.model_copy(
                    update={
                        "kind": kind,
                        "metrics": shift.metrics | {name: shift.metrics["agreement"]},
                        "nonfinite": (name,),
                        "notes": (name,),
                        "dense": dense_shift([name, name], colour=name),
                    }
                ),
                "crop": base.shifts["crop"],
            },
            "boundary": tuple(
                part.model_copy(update={"name": name, "meaning": name, "reason": name})
                for part in base.boundary
            ),
            "worst": tuple(
                image.model_copy(
                    update={"file": name, "kind": name, "thumbnail_shifted": f"data:,{name}"}
                    if i % 2
                    else {"file": name, "kind": name}
                )
                for i, image in enumerate(base.worst)
            ),
            "examples": (example(name, kind=name), example(name, kind=name, truth=name)),
            "receptive_field": ReceptiveField(radius=3, method=name),
            "unreadable": (Skipped(name=name, reason=name),),
            "skipped": (Skipped(name=name, reason=name),),
            "notes": (name,),
            "gates": tuple(
                gate.model_copy(update={"expression": name, "reason": name, "metric": name})
                for gate in base.gates
            ),
            "timings": base.timings.model_copy(
                update={
                    "started": name or "-",
                    "machine": name or "-",
                    "seconds_by_stage": {name: 1.0},
                }
            ),
        }
    )
