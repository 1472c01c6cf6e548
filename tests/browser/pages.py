"""What the tests of pages on a pretended hub share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sciencebox.gpus.device import Health, Load

from tests.fakes.little_hub import State, gpu, held

if TYPE_CHECKING:
    from playwright.sync_api import Page

ILL = gpu(3, "NVIDIA T4", 16, health=Health.QUARANTINED, health_reason="2 uncorrectable memory errors")
AT_WORK = Load(0.97, 61 * 2**30, 71, 287.0, 1e6)
BUSY = State(
    gpus=(gpu(0, load=AT_WORK), gpu(1), gpu(2, "NVIDIA T4", 16), ILL),
    holdings=(held(0, "bob"), held(1, "maria"), held(2, "ada")),
    line=("eva", "karl"),
)
FAILURE = "No GPU can be had now: NVIDIA A100 0 is not used because of 2 uncorrectable memory errors."
NEXT = {"position": 1, "waiting": 2, "start": 1_790_000_000.0, "ahead": [], "holders": ["bob", "maria"]}
LAST = {"position": 3, "waiting": 3, "start": None, "ahead": ["bob", "eva"], "holders": ["maria"]}
# Every text in view whose contrast is below WCAG's AA (4.5 to 1 for text of ordinary size).
FAINT = """() => {
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return { rgb: n.slice(0, 3), a: n[3] ?? 1 }; };
  const over = (top, under) => top.rgb.map((c, i) => c * top.a + under[i] * (1 - top.a));
  const light = rgb => rgb.map(c => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = node => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.unshift(parse(getComputedStyle(at).backgroundColor));
    return layers.reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim(), node = texts.currentNode.parentElement;
    const unseen = !node.checkVisibility() || node.closest('script, noscript, .visually-hidden, :disabled');
    if (!text || unseen) continue;
    const back = behind(node), front = over(parse(getComputedStyle(node).color), back);
    const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
    const contrast = (high + .05) / (low + .05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${text}`);
  }
  return faint;
}"""


def row(page: Page, title: str) -> Any:
    """A line of the GPU choice."""
    return page.locator(".sb-gpu").filter(has_text=title)


def look(page: Page) -> None:
    """Ask the server at once, as when the window comes to the front, instead of in a few seconds."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def unreadable(page: Page, width: int) -> list[str]:
    """What a reader could not read or reach: texts too faint, a page too wide, fields without a label."""
    faint: list[str] = page.evaluate(FAINT)
    wide = page.evaluate("document.documentElement.scrollWidth")
    nameless = page.locator("main input:not([type=hidden]), main select").evaluate_all(
        "fields => fields.filter(field => !field.labels.length).map(field => `${field.id} has no label`)"
    )
    return [*faint, *nameless, *([f"{wide} px wide"] if wide > width else [])]
