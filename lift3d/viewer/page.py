"""What is added to viser's page: names of it and its inputs, the order of events, less work without a graphics card."""

# viser names every page alike; an element of the panel says what is shown.
_TITLE = """
const title = document.querySelector("[data-page-title]")?.dataset.pageTitle;
if (title && title !== document.title) document.title = title;"""
# viser's labels of texts and sliders name no element of the page: readers of screens, and tests, find none by them.
_NAMES = """
for (const label of document.querySelectorAll("label[for]")) {
  if (document.getElementById(label.htmlFor)?.labels?.length) continue;
  const around = label.closest(".mantine-Flex-root");
  for (const one of around?.querySelectorAll("input, [role=slider]") ?? [])
    if (!one.getAttribute("aria-label")) one.setAttribute("aria-label", label.textContent);
}"""
# viser sends what is changed in the panel every 50 ms, and of what comes meanwhile the last alone: a button pressed
# right after a letter, or after as long as a busy browser draws, took the letter's place, and words arrived without
# their end or not at all. So a button waits until what came before it has been sent. A form of viser's would lose
# letters, too, by the word that it has changed: Enter presses the button below a text instead.
_ORDER = """
const presses = [];
let timer = null;
const next = () => { timer = null; presses.shift()?.click(); };
const change = () => { clearTimeout(timer); timer = setTimeout(next, 120); };
addEventListener("input", change, true);
addEventListener("pointermove", event => {
  if (event.buttons && event.target.tagName !== "CANVAS") change();
}, true);
addEventListener("keydown", event => {
  const text = event.target.closest?.("input");
  if (!text) return;
  change();
  if (event.key !== "Enter" || event.isComposing || text.getAttribute("role") === "combobox") return;
  const row = text.closest(".mantine-Flex-root")?.parentElement;
  row?.nextElementSibling?.querySelector(":scope > button:enabled")?.click();
}, true);
// Keys that move a slider would turn the scene, too.
document.documentElement.addEventListener("keydown", event => {
  if (event.target.getAttribute("role") === "slider") event.stopPropagation();
});
addEventListener("click", event => {
  const button = event.target.closest?.("button");
  if (button && timer !== null) {
    event.stopImmediatePropagation();
    event.preventDefault();
    presses.push(button);
  } else if (button || event.target.closest?.("[role=option]")) change();
}, true);"""
# By which the server asks a browser, through viser, what draws its pages: "card" is a graphics card.
RENDERER = "lift3d-renderer"
# A browser that draws without a graphics card spends half of its time on smooth edges, and a fourth of the rest on
# pixels that viser leaves out by itself, too, but late. The panel says so, in place of a note that hides the scene.
_SOFTWARE = """
const gl = document.createElement("canvas").getContext("webgl2");
const info = gl?.getExtension("WEBGL_debug_renderer_info");
const renderer = info ? gl.getParameter(info.UNMASKED_RENDERER_WEBGL) : "";
gl?.getExtension("WEBGL_lose_context")?.loseContext();
const isSoftware = /swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer);
try { localStorage.setItem("viser-user:NAME", renderer && !isSoftware ? "card" : "none"); } catch {}
if (isSoftware) {
  document.documentElement.classList.add("draws-in-software");
  const plain = HTMLCanvasElement.prototype.getContext;
  HTMLCanvasElement.prototype.getContext = function (kind, options) {
    return plain.call(this, kind, kind.startsWith("webgl") ? {...options, antialias: false} : options);
  };
  const address = new URL(location);
  address.searchParams.set("fixedDpr", "0.75");
  history.replaceState(null, "", address);
}""".replace("NAME", RENDERER)
# On phones the panel hides most of a scene.
_STYLE = """
#webgl-software-rendering, html:not(.draws-in-software) .if-in-software { display: none; }
@media (max-width: 36em) {
div[style*="width: 20em"] { width: 100% !important; } div[style*="max-height: 60%"] { max-height: 40% !important; }
}"""
ADDED = f"""<script>new MutationObserver(() => {{{_TITLE}{_NAMES}
}}).observe(document.documentElement, {{childList: true, subtree: true, attributes: true}});{_ORDER}{_SOFTWARE}
</script><style>{_STYLE}</style>"""
