#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drives the page of `lamina serve` in headless Chromium, against a fake server, as a person with a keyboard would.

usage: page_check.py [--shots DIR] [--chromium PATH] [--url URL]     check; pictures go to DIR; a real server at URL in place of the fake
       page_check.py hash                                           write the hashes of style and script into the page's policy

Needs playwright (PyPI) and a chromium (Debian's package); `hash` needs neither. Prints TAP.
"""
import argparse
import base64
import hashlib
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "src" / "app" / "server" / "page.html"


def with_hashes(text):
    """The page with the hashes of the style and the script that it has now."""
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        inside = re.search(f"<{tag}>(.*?)</{tag}>\n", text, re.S).group(1)
        value = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        text = re.sub(directive + r" 'sha256-[^']*'", f"{directive} 'sha256-{value}'", text, count=1)
    return text


class Check:
    """Cases as TAP, and everything the page did that it must not."""

    def __init__(self):
        self.cases = self.wrong = 0
        self.noise = []
        self.outside = []

    def ok(self, good, name, detail=""):
        self.cases += 1
        self.wrong += not good
        print(f"{'ok' if good else 'not ok'} {self.cases} - {name}" + (f"\n# {detail}" if not good and detail else ""), flush=True)

    def watch(self, page, base):
        page.on("console", lambda m: self.noise.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.noise.append(str(e)))
        page.on("request", lambda r: self.outside.append(r.url) if not r.url.startswith((base, "data:", "blob:")) else None)


def contrast(page):
    """Texts whose contrast with what is behind them is below 4.5 (large ones: 3)."""
    return page.evaluate("""() => {
      const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
      const lum = c => { const f = c.slice(0, 3).map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
                         return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
      const behind = n => { for (; n; n = n.parentElement) { const c = parse(getComputedStyle(n).backgroundColor); if (c[3] > .99) return c; }
                            return [255, 255, 255, 1]; };
      const low = [];
      for (const n of document.querySelectorAll('body *')) {
        const own = [...n.childNodes].some(t => t.nodeType === 3 && t.textContent.trim()) || n.tagName === 'TEXTAREA';
        const box = n.getBoundingClientRect(), s = getComputedStyle(n);
        if (!own || !box.width || n.closest('.sr, [hidden], .skip, :disabled') || s.visibility === 'hidden' || s.opacity === '0') continue;
        const a = lum(parse(s.color)), b = lum(behind(n)), r = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (r < (parseFloat(s.fontSize) >= 24 ? 3 : 4.5)) low.push(r.toFixed(2) + ' ' + n.tagName + '.' + n.className + ' ' + n.textContent.slice(0, 30));
      }
      return low; }""")


def unnamed(page):
    """Controls without a name for screen readers."""
    return page.evaluate("""() => [...document.querySelectorAll('button, input, select, textarea, a[href]')].filter(n =>
      !(n.getAttribute('aria-label') || n.textContent.trim() && n.tagName !== 'TEXTAREA' && n.tagName !== 'SELECT' || (n.labels && n.labels.length)))
      .map(n => n.outerHTML.slice(0, 80))""")


def wide(page):
    """Elements that make the page scroll sideways."""
    return page.evaluate("""() => document.documentElement.scrollWidth > innerWidth + 1 ? ['page ' + document.documentElement.scrollWidth] :
      [...document.querySelectorAll('header *, main > *, .column, article')].filter(n => n.getBoundingClientRect().right > innerWidth + 1
        && getComputedStyle(n).visibility !== 'hidden').map(n => n.tagName + '.' + n.className).slice(0, 5)""")


def ask(page, text):
    page.fill("#input", text)
    page.press("#input", "Enter")


def settled(page):
    page.wait_for_function("() => !document.querySelector('#send').hidden", timeout=60000)


def check_chat(c, page, state):
    ask(page, "Why is the sky blue?")
    page.wait_for_selector("#stop:not([hidden])")
    page.wait_for_function("() => document.querySelectorAll('article.assistant .body p').length > 0")
    first = len(page.inner_text("article.assistant .body"))
    page.wait_for_function(f"() => document.querySelector('article.assistant .body').innerText.length > {first + 40}")
    c.ok(True, "the reply grows while it is made")
    settled(page)
    c.ok(page.locator("article.assistant .code pre").count() == 1, "a block of code")
    c.ok(page.locator("article.assistant ol li").count() == 3, "a list")
    c.ok("<img src=" in page.inner_text("article.assistant .body") and page.locator("article.assistant img").count() == 0
         and page.title() == "lamina", "HTML of the model stays text")
    c.ok("tokens" in page.inner_text("article.assistant .facts"), "what it took is said", page.inner_text("article.assistant .facts"))
    page.wait_for_function("() => document.querySelector('#say').textContent.startsWith('The reply:')")
    c.ok(True, "a screen reader is told once, at the end")
    if state:
        r = state.requests[-1]
        c.ok(r["stream"] is True and r["stream_options"] == {"include_usage": True} and "temperature" not in r, "the request")
    page.click("text=Regenerate")
    page.wait_for_selector("#stop:not([hidden])")
    settled(page)
    c.ok(page.locator("article").count() == 2, "regenerate replaces the reply")
    page.click("article.user >> text=Edit")
    page.fill("article textarea", "Say it briefly, refuse nothing" if not state else "Why is grass green?")
    page.press("article textarea", "Enter")
    page.wait_for_selector("#stop:not([hidden])")
    settled(page)
    c.ok(page.locator("article").count() == 2 and "grass" in page.inner_text("article.user"), "edit asks again")


def check_stop(c, page, state):
    before = state.aborted
    ask(page, "a long one")
    page.wait_for_function("() => [...document.querySelectorAll('article.assistant .body')].pop().innerText.length > 200")
    page.press("#input", "Escape")
    settled(page)
    kept = page.inner_text("article.assistant >> nth=-1")
    page.wait_for_timeout(400)
    c.ok("stopped" in kept and len(kept) > 200, "Escape stops and keeps what came")
    c.ok(state.aborted == before + 1, "the server sees that the client left")
    ask(page, "another long one")
    page.wait_for_selector("#stop:not([hidden])")
    page.wait_for_function("() => [...document.querySelectorAll('article.assistant .body')].pop().innerText.length > 60")
    page.click("#stop")
    settled(page)
    c.ok(page.evaluate("() => document.activeElement.id") == "input", "the button stops too, and the focus is back")


def check_midway(c, page):
    """Leaving and editing while a reply is being made."""
    ask(page, "a long one to edit")
    page.wait_for_function("() => [...document.querySelectorAll('article.assistant .body')].pop().innerText.length > 60")
    page.click("article.user >> nth=-1 >> button:has-text('Edit')")
    page.wait_for_selector("article textarea")
    page.wait_for_timeout(300)
    c.ok(page.is_visible("article textarea") and page.is_visible("#send"), "editing stops the reply and is not disturbed by its end")
    page.keyboard.press("Escape")
    c.ok(not page.is_visible("article textarea"), "Escape leaves it as it was")
    ask(page, "a long one to leave")
    page.wait_for_function("() => [...document.querySelectorAll('article.assistant .body')].pop().innerText.length > 60")
    page.click("#new")
    page.wait_for_timeout(300)
    c.ok(page.is_visible("#send") and page.locator("article").count() == 0, "a new chat stops the reply of the old one")
    page.click("#list li >> nth=1 >> button >> nth=0")
    text = page.inner_text("article.assistant >> nth=-1")
    c.ok("stopped" in text and len(text) > 60, "which keeps what came", text[:200])


def check_faults(c, page):
    for words, wanted in (("fail", "tile of layer 7 is damaged"), ("refuse", "queue is full"), ("cut", "connection ended")):
        ask(page, words)
        page.wait_for_selector("#stop[hidden]", state="attached")
        settled(page)
        page.wait_for_function("() => document.querySelector('article:last-child .fault')")
        text = page.inner_text("article:last-child")
        c.ok(wanted in text and "Try again" in text, f"a reply that goes wrong: {words}", text)


def check_keyboard(c, page):
    """Everything by keys alone: new chat, ask, settings, stop."""
    page.reload()
    page.wait_for_function("() => document.querySelector('#model').value")
    c.ok(page.evaluate("() => document.activeElement.id") == "input", "the message has the focus at once")
    seen = []
    while len(seen) < 60 and seen[-1:] != ["skip"]:
        page.keyboard.press("Shift+Tab")
        seen.append(page.evaluate("() => document.activeElement.className"))
    c.ok(seen[-1] == "skip" and "new" in str(seen), "the first stop is the skip link", str(seen))
    page.keyboard.press("Enter")
    c.ok(page.evaluate("() => document.activeElement.id") == "input", "it leads to the message")
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("() => document.activeElement.id || document.activeElement.textContent.slice(0, 20)"))
        if seen[-1] == "open-settings":
            break
    c.ok("open-settings" in seen, "Tab reaches the settings", str(seen))
    page.keyboard.press("Enter")
    c.ok(page.evaluate("() => document.querySelector('#settings').open"), "Enter opens them")
    page.keyboard.type("You are brief.")
    page.keyboard.press("Tab")
    page.keyboard.type("0.5")
    page.keyboard.press("Enter")
    page.wait_for_function("() => !document.querySelector('#settings').open")
    c.ok(page.evaluate("() => document.activeElement.id") == "open-settings", "the focus goes back where it was")
    page.focus("#input")
    page.keyboard.type("Hello there")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("again")
    page.keyboard.press("Enter")
    page.wait_for_selector("#stop:not([hidden])")
    page.keyboard.press("Escape")
    settled(page)
    c.ok(page.evaluate("() => document.activeElement.id") == "input", "asked and stopped by keys")


def check_kept(c, page):
    n = page.locator("article").count()
    page.reload()
    page.wait_for_selector("article")
    c.ok(page.locator("article").count() == n, "conversations outlive a reload")
    with page.expect_download() as download:
        page.click("#export")
    c.ok('"messages"' in pathlib.Path(download.value.path()).read_text(), "export as JSON")
    page.click("#new")
    c.ok(page.locator("article").count() == 0, "a new chat is empty")
    page.locator("#list li", has_text="grass").locator(".drop").click()
    page.click("#ask-drop button[value=ok]")
    page.wait_for_function("() => ![...document.querySelectorAll('#list li')].some(n => n.textContent.includes('grass'))")
    c.ok(True, "a conversation is deleted")


def check_sizes(c, browser, base, theme, shots):
    for width, height in ((1440, 900), (1000, 760), (360, 740)):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce",
                                      device_scale_factor=1)
        page = context.new_page()
        c.watch(page, base)
        page.goto(base)
        page.wait_for_function("() => document.querySelector('#model').value")
        ask(page, "Why is the sky blue?")
        if shots and width != 1000:
            page.wait_for_function("() => !document.querySelector('#prompt-box').hidden")
            page.wait_for_timeout(700)
            page.screenshot(path=str(shots / f"{theme}-{width}-prompt.png"))
        page.wait_for_function("() => document.querySelector('.code pre') && document.querySelector('#state.busy')", timeout=60000)
        page.wait_for_timeout(1500)
        if shots:
            page.screenshot(path=str(shots / f"{theme}-{width}.png"))
        c.ok(not wide(page), f"{theme} {width}: nothing sticks out", str(wide(page)))
        low = contrast(page)
        c.ok(not low, f"{theme} {width}: contrast", "; ".join(low))
        if width == 360:
            page.click("#open-side")
            page.wait_for_timeout(300)
            c.ok(page.is_visible("#memory-bar"), f"{theme} {width}: the machine opens")
            if shots:
                page.screenshot(path=str(shots / f"{theme}-{width}-machine.png"))
            page.keyboard.press("Escape")
            page.wait_for_timeout(300)
            c.ok(not page.is_visible("#memory-bar") and page.evaluate("() => document.activeElement.id") == "open-side",
                 f"{theme} {width}: Escape closes it")
            page.click("#open-nav")
            page.wait_for_timeout(300)
            c.ok(page.is_visible("#new"), f"{theme} {width}: conversations open")
            if shots:
                page.screenshot(path=str(shots / f"{theme}-{width}-nav.png"))
            page.keyboard.press("Escape")
        if shots and width == 1440:
            page.click("#open-settings")
            page.screenshot(path=str(shots / f"{theme}-{width}-settings.png"))
            page.keyboard.press("Escape")
        c.ok(not unnamed(page), f"{theme} {width}: every control has a name", str(unnamed(page)))
        c.ok("layers" in page.get_attribute("#strip", "aria-label") and page.locator("#strip i").count() > 0, f"{theme} {width}: layers")
        context.close()


def check_key(c, browser, fake):
    server, state = fake.start(key="sesame")
    base = f"http://127.0.0.1:{server.server_port}/"
    page = browser.new_page()
    page.goto(base)
    page.wait_for_selector("#ask-key[open]")
    page.keyboard.press("Escape")
    page.wait_for_timeout(7000) # what runs by itself tries again every 5 s
    c.ok(not page.evaluate("() => document.querySelector('#ask-key').open"), "a key that is not given is not asked for again and again")
    page.fill("#input", "Hello")
    page.keyboard.press("Enter")
    page.wait_for_selector("#ask-key[open]")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#ask-key').open && !document.querySelector('#ask-key input').value")
    page.keyboard.type("sesame")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#model').value")
    page.wait_for_function("() => document.querySelector('#state').textContent === 'idle'")
    c.ok(not page.evaluate("() => document.querySelector('#ask-key').open"), "a key is asked for, again when wrong, and used")
    c.ok("sesame" not in page.evaluate("() => JSON.stringify(localStorage)"), "and not kept beyond the tab")
    page.close()
    server.shutdown()


def run(args):
    from playwright.sync_api import sync_playwright
    sys.path.insert(0, str(ROOT / "tests" / "server"))
    import fake_page_server as fake
    c = Check()
    server, state = (None, None) if args.url else fake.start()
    base = args.url or f"http://127.0.0.1:{server.server_port}/"
    if args.shots:
        args.shots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        c.watch(page, base)
        page.goto(base)
        page.wait_for_function("() => document.querySelector('#model').value")
        c.ok(True, "the page starts")
        check_chat(c, page, state)
        if state:
            check_stop(c, page, state)
            check_midway(c, page)
            noise = list(c.noise)
            check_faults(c, page)
            c.noise[:] = noise  # a status of 503 and a lost connection are said on the console by the browser itself
            check_kept(c, page)
            check_keyboard(c, page)
            c.ok(state.requests[-1]["messages"][0] == {"role": "system", "content": "You are brief."}
                 and state.requests[-1]["temperature"] == 0.5, "settings are sent", str(state.requests[-1])[:200])
            check_key(c, browser, fake)
        page.close()
        if state:
            state.slow = 0.1  # pictures while it generates
        for theme in ("light", "dark"):
            check_sizes(c, browser, base, theme, args.shots)
        c.ok(not c.noise, "nothing on the console", "; ".join(c.noise[:4]))
        c.ok(not c.outside, "no request leaves the server", str(c.outside[:4]))
        browser.close()
    print(f"1..{c.cases}")
    return 1 if c.wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", nargs="?", choices=["check", "hash"], default="check")
    parser.add_argument("--shots", type=pathlib.Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--url", help="a real server, with a model that answers")
    args = parser.parse_args()
    if args.what == "hash":
        PAGE.write_text(with_hashes(PAGE.read_text()))
        return 0
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
