"""The page in a real browser, against the real server, loop and door over a machine of values."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from collectors.reading import gib
from supervisor.config.entrusted import OPERATE, READ, Entrusted, included
from supervisor.core.snapshot import Foreign, Installed
from tests.builders import ref, resident
from tests.web.fakes import GPU

from .stage import Stage

pytestmark = pytest.mark.slow

TOKEN = "a-token-of-some-length"
HOSTILE = "<img src=x onerror=window.hit=1>"
RED = '"><script>window.hit=1</script>\u202etxt'


def row(name: str) -> str:
    return f"#models tr[aria-label='{name}']"


def test_an_eviction_shows_at_once(stage: Stage, visits: Any) -> None:
    page = visits(stage).open()
    page.wait_for_selector(f"{row('ollama/qwen3:8b')} .chip.loaded")
    assert "6 GiB" in page.inner_text(row("ollama/qwen3:8b"))
    used = page.inner_text("#pools .used >> nth=0")
    stage.ask(lambda door: door.evict(["qwen3:8b"]))
    page.wait_for_selector(row("ollama/qwen3:8b"), state="detached")
    page.wait_for_selector("#decisions summary:has-text('unload ollama/qwen3:8b')")
    assert page.inner_text("#pools .used >> nth=0") != used
    page.click("#decisions summary >> nth=0")
    page.wait_for_selector("#decisions .told :text('somebody asked for it')")


def test_a_model_is_pinned_unloaded_and_asked_about_by_keyboard(stage: Stage, visits: Any) -> None:
    page = visits(stage).open()
    page.keyboard.press("j")
    page.keyboard.press("End")
    page.keyboard.press("Home")
    for _ in range(10):
        if page.evaluate("document.activeElement.getAttribute('aria-label')") == "ollama/qwen3:8b":
            break
        page.keyboard.press("ArrowDown")
    page.keyboard.press("p")
    page.wait_for_selector("#said :text('ollama/qwen3:8b is pinned')")
    page.wait_for_selector(f"{row('ollama/qwen3:8b')} .pin:visible")
    assert stage.site.loop.keeping.pins.names == {"ollama/qwen3:8b"}
    page.keyboard.press("p")
    page.wait_for_selector(f"{row('ollama/qwen3:8b')} .pin:visible", state="detached")

    page.keyboard.press("w")
    page.wait_for_selector("dialog :text('ollama/qwen3:8b is loaded and holds')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.keyboard.press("u")
    page.wait_for_selector("dialog :text('Unload ollama/qwen3:8b?')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.keyboard.press("u")
    page.wait_for_selector("dialog :text('chosen to go')")
    page.keyboard.press("Enter")
    page.wait_for_selector("#said :text('Unload ollama/qwen3:8b: done.')")
    page.wait_for_selector(row("ollama/qwen3:8b"), state="detached")

    page.keyboard.press("/")
    page.keyboard.type("gemma")
    page.wait_for_function("document.querySelectorAll('#models tbody tr').length === 1")
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelectorAll('#models tbody tr').length === 4")
    page.keyboard.press("?")
    page.wait_for_selector("dialog :text('filter the models')")


def test_ullage_is_paused_and_an_engine_drained(stage: Stage, visits: Any) -> None:
    page = visits(stage).open()
    page.click("#pause")
    page.wait_for_selector("dialog :text('on its own account')")
    page.keyboard.press("Enter")
    page.wait_for_selector("#facts .badge:text-is('paused')")
    assert stage.site.loop.keeping.pausing.pause is not None
    page.click("#pause:text-is('Resume')")
    page.wait_for_selector("#facts .badge:text-is('paused')", state="hidden")
    page.click("[aria-label='Drain ollama']")
    page.click("dialog button:text-is('Drain')")
    page.wait_for_selector("#engines .chip.draining")
    assert set(stage.site.loop.keeping.pausing.drained) == {"ollama"}
    page.click("[aria-label='Take back ollama']")
    page.wait_for_selector("#engines .chip.draining", state="detached")


def test_a_setting_is_refused_tried_set_and_taken_back(stage: Stage, visits: Any) -> None:
    page = visits(stage).open()
    page.click("#settings summary")
    page.fill("#search-settings", "max_active_backends")
    page.click("[aria-label='Change max_active_backends']")
    field = page.locator("[aria-label='New value of max_active_backends']")
    field.fill("many")
    page.wait_for_selector(".editor .wrong:has-text('not a count')")
    assert field.get_attribute("aria-invalid") == "true"
    page.keyboard.press("Enter")  # saved all the same: still refused, and nothing has changed
    page.wait_for_selector(".editor .wrong")
    assert stage.site.overrides.texts == {}

    field.fill("1")
    page.wait_for_selector(".editor .said:has-text('would leave')")
    assert stage.site.overrides.texts == {}, "tried, and not set"
    assert field.get_attribute("aria-invalid") is None
    page.click(".editor button:has-text('Save')")
    page.wait_for_selector("#said :text('max_active_backends is 1 now.')")
    page.wait_for_selector("#settings .badge.override")
    assert stage.site.overrides.texts == {"max_active_backends": "1"}

    page.click("[aria-label='Undo the override of max_active_backends']")
    page.wait_for_selector("#settings .badge.override", state="detached")
    assert stage.site.overrides.texts == {}


def test_settings_whose_answer_was_cut_off_are_asked_for_again(stage: Stage, visits: Any) -> None:
    """That one answer alone: the page knows of nothing wrong, and no event comes."""
    visit = visits(stage)
    visit.page.route("**/api/v1/settings", lambda route: route.abort(), times=1)
    page = visit.open()
    page.click("#settings > details > summary")
    page.wait_for_selector("[aria-label='Change max_active_backends']")


def test_why_has_a_title_for_each_decision_with_its_time_and_its_lines_below(
    stage: Stage, visits: Any
) -> None:
    stage.ask(lambda door: door.load("gemma3:4b"))
    page = visits(stage).open()
    page.click(f"{row('ollama/gemma3:4b')} button:has-text('Why')")
    page.wait_for_selector("dialog h3:has-text('asked to load ollama/gemma3:4b') .quiet")
    assert "ago" not in page.inner_text("dialog h3")
    page.wait_for_selector("dialog h3 + ul :text('is wanted')")


def test_it_fits_a_phone_and_everything_can_be_opened_there(stage: Stage, visits: Any) -> None:
    stage.world.installed.append(Installed(ref("a-name-that-never-ends" * 6), gib(1)))
    stage.tick()
    page = visits(stage, viewport={"width": 320, "height": 640}).open()
    page.click("#settings > details > summary")
    page.wait_for_selector("[aria-label='Change max_active_backends']")
    page.click("[aria-label='Change max_active_backends']")
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    page.evaluate(
        "(whence) => (document.querySelectorAll('#settings .badge')[3].textContent = whence)",
        'flag --set models."cellar/qwen3:8b-instruct".watchdog.idle_timeout',
    )
    page.wait_for_selector(".editor")
    wide = page.evaluate(
        "[...document.querySelectorAll('body *')].filter((e) => !e.closest('.wide, .unseen, thead, "
        "canvas') && e.getBoundingClientRect().right > 320.5).map((e) => e.outerHTML.slice(0, 99))"
    )
    assert wide == []
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.keyboard.press("?")
    box = page.locator("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 320


def test_it_works_again_after_the_daemon_was_started_anew(stage: Stage, visits: Any) -> None:
    page = visits(stage).open()
    stage.stop()
    page.wait_for_selector("#banner:has-text('The daemon is away, trying again')")
    assert "qwen3:8b" in page.inner_text("#models"), "what was seen is still there"
    stage.world.hold(resident("newcomer", 5, pool=GPU))
    stage.start()
    # On a slow machine it has tried by itself before anybody could, and the button is gone.
    page.eval_on_selector("#banner button", "button => button.click()")
    page.wait_for_selector(f"{row('ollama/newcomer')} .chip.loaded")
    page.wait_for_selector("#standing[data-is=live]")
    page.wait_for_selector("#banner", state="hidden")
    stage.ask(lambda door: door.evict(["newcomer"]))
    page.wait_for_selector(row("ollama/newcomer"), state="detached")


def test_charts_come_once_their_library_does(stage: Stage, visits: Any) -> None:
    """What the daemon does not serve as it goes away is asked for again, and is no error."""
    visit = visits(stage)
    asked: list[str] = []

    def away(route: Any) -> None:
        asked.append(route.request.url)
        route.abort()

    visit.page.route("**/uplot.js", away)
    page = visit.open()
    page.wait_for_selector("figure.chart .plot", state="attached")
    stage.tick()
    page.wait_for_selector("script[src*=uplot]", state="detached")
    assert asked
    assert page.locator("canvas").count() == 0
    visit.page.unroute("**/uplot.js", away)
    stage.tick()
    page.wait_for_selector("figure.chart canvas", state="attached")
    assert page.locator("link[href*=uplot]").count() == 1


def test_the_token_is_asked_for_once_and_kept_for_the_tab(browser: Any, visits: Any) -> None:
    stage = Stage(token=TOKEN)
    stage.start()
    try:
        visit = visits(stage)
        page = visit.page
        page.goto(stage.url)
        page.wait_for_selector("dialog :text('This daemon wants its token')")
        assert page.locator("dialog").count() == 1
        assert "qwen3" not in page.content()
        page.keyboard.type("not-the-token")
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog :text('That was not the token.')")
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector(f"{row('ollama/qwen3:8b')} .chip.loaded")
        page.wait_for_selector("#standing[data-is=live]")
        page.reload()  # from what the browser has kept
        page.wait_for_selector(f"{row('ollama/qwen3:8b')} .chip.loaded")
        assert page.locator("dialog").count() == 0
        assert visit.context.cookies() == []
        assert TOKEN not in page.url
    finally:
        stage.stop()
        stage.close()


def test_names_are_text_whoever_chose_them(stage: Stage, visits: Any) -> None:
    stage.world.hold(resident(HOSTILE, 3, pool=GPU), resident(RED, 3, pool=GPU))
    stage.world.installed.append(Installed(ref(f"{HOSTILE}:2"), gib(1)))
    stage.world.foreign = (Foreign(GPU, 7, HOSTILE, gib(2)),)
    stage.tick()
    page = visits(stage).open()
    stage.ask(lambda door: door.pin(f"ollama/{HOSTILE}"))
    page.wait_for_selector("#models .pin:visible")
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    page.click("#models tr:has(.pin:visible) button:has-text('Why')")
    page.wait_for_selector("dialog ul li")
    assert page.locator("img").count() == 1, "our own sign"
    ours = "[...document.scripts].every((s) => new URL(s.src).origin === location.origin)"
    assert page.evaluate(f"[window.hit === undefined, {ours}]") == [True, True]
    names = page.locator(".model-name").all_inner_texts()
    assert HOSTILE in names
    assert RED.replace("\u202e", "\\u{202e}") in names, "what would turn the line is written out"
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.click("#models tr:has(.pin:visible) button:has-text('Unload')")
    page.wait_for_selector("dialog ul li")
    stage.ask(lambda door: door.unpin(f"ollama/{HOSTILE}"))
    page.click("dialog button:has-text('Unload')")
    page.wait_for_selector("#said :text('done.')")
    assert page.locator("img").count() == 1


def test_what_is_refused_says_what_is_missing(stage: Stage, visits: Any) -> None:
    page = visits(stage).open()
    stage.ask(lambda door: door.free(gib(30), GPU, wait=False))
    page.wait_for_selector("#decisions summary:has-text('refused, ')")
    assert "missing" in page.inner_text("#decisions summary >> nth=0")


@pytest.mark.parametrize("status", [404, 503])  # none are told, or too many pages listen
def test_without_events_it_looks_every_two_seconds(stage: Stage, visits: Any, status: int) -> None:
    visit = visits(stage)
    visit.page.route("**/api/v1/events", lambda route: route.fulfill(status=status, body="{}"))
    visit.page.goto(stage.url)
    visit.page.wait_for_selector("#standing[data-is=polling]")
    visit.page.wait_for_selector(row("ollama/qwen3:8b"))
    stage.ask(lambda door: door.evict(["qwen3:8b"]))
    visit.page.wait_for_selector(row("ollama/qwen3:8b"), state="detached")


def test_events_are_read_however_they_are_cut(stage: Stage, visits: Any) -> None:
    page = visits(stage).open()
    found = page.evaluate(
        """async () => {
          const { events } = await import("/assets/live.js");
          const text = ": still here\\n\\nid: a-1\\r\\nevent: model\\r\\n"
            + "data: {\\"m\\":\\"é\\"}\\r\\n\\r\\nretry: 2000\\n\\ndata: 1\\ndata:2\\n\\nid: lost";
          const bytes = new TextEncoder().encode(text);
          const all = [];
          for (const step of [1, 2, 3, 7, bytes.length]) {
            const stream = new ReadableStream({
              start(to) {
                for (let i = 0; i < bytes.length; i += step) to.enqueue(bytes.slice(i, i + step));
                to.close();
              },
            });
            const found = [];
            for await (const each of events(stream)) found.push(each);
            all.push(JSON.stringify(found));
          }
          return [...new Set(all)].map(JSON.parse);
        }"""
    )
    first = {"id": "a-1", "event": "model", "data": '{"m":"é"}'}
    assert [[{k: v for k, v in e.items() if k != "retry"} for e in all_] for all_ in found] == [
        [first, {"event": "message", "data": "1\n2"}]
    ]


def test_the_theme_is_chosen_here_and_kept(stage: Stage, visits: Any) -> None:
    page = visits(stage, color_scheme="light").open()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.select_option("#theme", "dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    page.select_option("#theme", "auto")
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_of(stage: Stage, visits: Any, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-core is not installed")
    page = visits(stage, color_scheme=theme, reduced_motion="reduce").open()
    page.click("#settings > details > summary")
    page.wait_for_selector("[aria-label='Change max_active_backends']")
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    page.click("[aria-label='Change max_active_backends']")
    page.locator("[aria-label='New value of max_active_backends']").fill("many")
    page.wait_for_selector(".editor .wrong")
    page.evaluate(axe.AXE_SCRIPT)
    assert complaints(page) == []
    page.locator(row("ollama/qwen3:8b")).focus()
    page.keyboard.press("u")
    page.wait_for_selector("dialog li")
    assert complaints(page) == []


def complaints(page: Any) -> list[str]:
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{v['id']}: {n['html'][:120]}: {n['failureSummary']}"
        for v in found["violations"]
        for n in v["nodes"]
    ]


def test_it_is_painted_before_anybody_waits(stage: Stage, visits: Any) -> None:
    """Once of a few times: a machine at work may take its time."""
    times = []
    while len(times) < 5 and not any(t < 500 for t in times):
        page = visits(stage).open()
        entry = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        times.append(page.evaluate(entry))
    assert min(times) < 500, times


def test_with_a_token_that_may_only_look_buttons_say_what_they_would_need(visits: Any) -> None:
    known = Entrusted("desk", sha256(TOKEN.encode()).digest(), included((READ,)))
    stage = Stage(entrusted=(known,))
    stage.start()
    try:
        page = visits(stage).page
        page.goto(stage.url)
        page.wait_for_selector("dialog input")
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        model = row("ollama/qwen3:8b")
        page.wait_for_selector("#standing[data-is=live]")
        why = "This needs operate, and the token desk has read."
        page.wait_for_selector(f"{model} button[data-denied]:has-text('Pin')")
        pin = page.locator(f"{model} button:has-text('Pin')")
        assert (pin.get_attribute("aria-disabled"), pin.get_attribute("title")) == ("true", why)
        assert page.locator("#pause").get_attribute("aria-disabled") == "true"
        assert page.locator(f"{model} button:has-text('Why')").get_attribute("title") is None
        pin.dispatch_event("click")
        page.wait_for_selector(f"#said :text('{why}')")
        page.locator("#said .away").dispatch_event("click")
        page.focus(model)
        page.keyboard.press("u")  # past the button
        page.wait_for_selector(f"#said :text('{why}')")
        assert page.locator("dialog").count() == 0
        assert stage.site.door.loop.keeping.pins.names == frozenset()
        stage.entrusted = (replace(known, scopes=included((OPERATE,))),)
        page.reload()
        page.wait_for_selector(f"{model} button:not([data-denied]):has-text('Pin')")
        page.click(f"{model} button:has-text('Pin')")
        page.wait_for_selector("#said :text('is pinned')")
    finally:
        stage.stop()
        stage.close()
