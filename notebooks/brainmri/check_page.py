"""What `brainmri check` found as one page of HTML that needs nothing else: counts, faults, pictures, look-alikes.

Whatever comes from the data (names of files, labels, patients) is escaped, and the page may load and run nothing.
"""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

from PIL import Image

from brainmri.data import DataError, open_image, open_mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from brainmri.check import Findings
    from brainmri.data import Slice

MARK = "<!-- made by brainmri check -->"
EDGE = 128  # pixels of a thumbnail
EACH = 12  # thumbnails of a label
PAIRS = 20  # look-alikes shown
SENTENCES = 200  # faults and remarks listed before the rest is counted
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
OUTLINE = (213, 94, 0)
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222;background:#fff}
h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em}table{border-collapse:collapse}
th,td{text-align:left;padding:.2em 1em .2em 0;border-bottom:1px solid #ddd;vertical-align:top}
.row{display:flex;flex-wrap:wrap;gap:.8em}figure{margin:0;width:8em;font-size:.8em;overflow-wrap:anywhere}
img{width:8em;height:8em;object-fit:contain;background:#000;display:block}
.fault{border-left:4px solid #d55e00}.remark{border-left:4px solid #0072b2}.good{border-left:4px solid #009e73}
.fault,.remark,.good{padding:.3em 1em;margin:.4em 0;overflow-wrap:anywhere}
.synthetic{background:#d55e00;color:#fff;font-weight:bold;padding:.3em 1em}small{color:#666}
"""


def page(findings: Findings) -> str:
    """The whole page."""
    dataset, source = findings.dataset, findings.dataset.source
    banner = '<p class="synthetic">SYNTHETIC: none of this shows a patient.</p>' if source.synthetic else ""
    parts = [
        f"{MARK}\n<!doctype html>\n<html lang=en><head><meta charset=utf-8>",
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        "<meta name=viewport content='width=device-width'>",
        f"<title>{_text(dataset.root.name)}: what brainmri check found</title><style>{STYLE}</style></head><body>",
        f"<h1>What is in {_text(dataset.root.name)}</h1>{banner}<p><small>{_text(source.credit)}</small></p>",
        _verdict(findings),
        _table(_counts(findings)),
        *_sentences("Faults", "fault", findings.faults),
        *_sentences("Notes", "remark", findings.remarks),
        *_look_alikes(findings),
        *_pictures(findings),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def write(findings: Findings, path: Path) -> None:
    """Store the page. Raises DataError where a file is there that is no such page."""
    from brainmri.runs import write_whole

    if path.is_dir() or (path.exists() and not path.read_bytes().startswith(MARK.encode())):
        raise DataError(f"{path} exists and is no report of this command. Give another name.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page(findings))


def _verdict(findings: Findings) -> str:
    count = len(findings.faults)
    if not count:
        return '<p class="good">No fault found.</p>'
    return (
        f'<p class="fault">{count} fault{"s" if count != 1 else ""} found: figures from this folder would be wrong.</p>'
    )


def _counts(findings: Findings) -> Mapping[str, str]:
    dataset = findings.dataset
    sizes = ", ".join(f"{width} x {height} ({count})" for (width, height), count in findings.sizes.most_common(5))
    return {
        "Slices": f"{len(dataset)} of {len(set(dataset.groups))} {dataset.grouping}s",
        **{
            f"Showing {label}": f"{dataset.labels[label]} slices of {groups} {dataset.grouping}s"
            for label, groups in findings.groups.items()
        },
        "Masks": f"{findings.masks}, {findings.empty_masks} of them empty",
        "Pixels": sizes or "none could be read",
    }


def _table(rows: Mapping[str, str]) -> str:
    cells = (f"<tr><th scope=row>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows.items())
    return f"<table>{''.join(cells)}</table>"


def _sentences(title: str, kind: str, sentences: list[str]) -> Iterator[str]:
    if sentences:
        yield f"<h2>{title} ({len(sentences)})</h2>"
        yield from (f'<p class="{kind}">{_text(sentence)}</p>' for sentence in sentences[:SENTENCES])
        if len(sentences) > SENTENCES:
            yield f"<p>and {len(sentences) - SENTENCES} more of the same kind</p>"


def _look_alikes(findings: Findings) -> Iterator[str]:
    if not findings.look_alikes:
        return
    slices = findings.dataset.slices
    yield f"<h2>Look-alikes across {findings.dataset.grouping}s ({len(findings.look_alikes)})</h2>"
    yield "<p>Each pair is nearly the same picture, but said to be of two. The most alike first.</p>"
    for first, second, alike in findings.look_alikes[:PAIRS]:
        shown = _row(slices[index] for index in (first, second))
        yield f"<p>correlation {alike:.3f}</p>{shown}"


def _pictures(findings: Findings) -> Iterator[str]:
    dataset = findings.dataset
    for label in sorted(dataset.labels):
        items = [item for item in dataset if item.label == label]
        some = items[:: max(1, len(items) // EACH)][:EACH]
        yield f"<h2>{_text(label)}: {len(some)} of {len(items)} slices</h2>{_row(some)}"


def _row(items: Iterable[Slice]) -> str:
    return f'<div class="row">{"".join(_figure(item) for item in items)}</div>'


def _figure(item: Slice) -> str:
    name = _text(item.image.name)
    try:
        picture = f'<img alt="{name}" src="data:image/png;base64,{_thumbnail(item)}">'
    except DataError:
        picture = f'<img alt="{name} cannot be read">'
    return f"<figure>{picture}<figcaption>{name}<br>{_text(item.group)}</figcaption></figure>"


def _thumbnail(item: Slice) -> str:
    """The slice as PNG, in base64, with its mask tinted."""
    image = open_image(item.image).convert("RGB")
    if item.mask is not None:
        mask = open_mask(item).point(lambda value: 90 if value else 0)
        image.paste(Image.new("RGB", image.size, OUTLINE), mask=mask)
    image.thumbnail((EDGE, EDGE))
    stored = io.BytesIO()
    image.save(stored, "PNG", optimize=True)
    return base64.b64encode(stored.getvalue()).decode()


def _text(value: object) -> str:
    return html.escape(str(value))
