"use strict";
(() => {
  const FRAMES_PER_SECOND = 6;
  const TALLEST_REM = 24;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  // A tall picture must not fill more than a screen.
  const bound = (box, picture) => {
    box.style.maxWidth = `${(TALLEST_REM * picture.getAttribute("width")) / picture.getAttribute("height")}rem`;
  };

  // The slider shows pictures of the gallery below it; without a script there is nothing to slide.
  const compare = (box) => {
    const rows = box.closest("[data-pictures]").querySelectorAll("[data-row]");
    const [stack, choice, cut] = ["[data-stack]", "[data-choice]", "[data-cut]"].map((name) => box.querySelector(name));
    const show = () => {
      const pictures = ["2D", "lifted"].map((name) =>
        rows[Number(choice.value)].querySelector(`[data-column="${name}"] img`));
      if (!pictures.every(Boolean)) return;
      stack.replaceChildren(...pictures.map((one) => one.cloneNode()));
      bound(stack, pictures[0]);
    };
    const move = () => stack.style.setProperty("--cut", `${cut.value}%`);
    choice.addEventListener("change", show);
    cut.addEventListener("input", move);
    show();
    move();
    box.hidden = false;
  };

  const flicker = (box) => {
    const screens = [...box.querySelectorAll("[data-frames]")].map((one) => [...one.children]);
    const names = [...box.querySelectorAll("[data-names] li")].map((one) => one.textContent);
    const [play, slider, target] = ["[data-play]", "[data-frame]", "[data-target]"].map((name) => box.querySelector(name));
    let place = 0, step = 1, timer = null, isWanted = !still.matches, isSeen = false;
    const show = (next) => {
      place = next;
      for (const frames of screens) frames.forEach((frame, index) => { frame.hidden = index !== place; });
      slider.value = String(place);
      target.textContent = names[place];
    };
    // To and fro: a jump from the last view to the first would look like a flicker.
    const advance = () => {
      if (place + step < 0 || place + step >= names.length) step = -step;
      show(place + step);
    };
    const update = () => {
      const isOn = isWanted && isSeen && !document.hidden && names.length > 1;
      if (isOn && timer === null) timer = window.setInterval(advance, 1000 / FRAMES_PER_SECOND);
      if (!isOn && timer !== null) { window.clearInterval(timer); timer = null; }
      play.textContent = isWanted ? "Pause" : "Play";
    };
    const want = (is) => { isWanted = is; update(); };
    play.addEventListener("click", () => want(!isWanted));
    slider.addEventListener("input", () => { want(false); show(Number(slider.value)); });
    still.addEventListener("change", () => want(!still.matches));
    document.addEventListener("visibilitychange", update);
    new IntersectionObserver((seen) => { isSeen = seen[seen.length - 1].isIntersecting; update(); }).observe(box);
    for (const frames of screens) bound(frames[0].parentElement, frames[0]);
    show(0);
    update();
    box.querySelector("[data-controls]").hidden = names.length < 2;
  };

  // A click on a heading sorts the lines by it, another one turns them round; lines without a figure stay last.
  const sortable = (table) => table.querySelectorAll("thead th").forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const isUp = heading.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("thead th").forEach((one) => one.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", isUp ? "ascending" : "descending");
      const body = table.tBodies[0], isNumber = heading.classList.contains("number");
      const keyed = [...body.rows].map((row) => ({ row, key: isNumber ? row.cells[column].dataset.value : row.cells[column].textContent }));
      const compared = (a, b) => (isNumber ? Number(a) - Number(b) : a.localeCompare(b)) * (isUp ? 1 : -1);
      keyed.sort((a, b) => (a.key === "") - (b.key === "") || compared(a.key, b.key));
      body.append(...keyed.map((one) => one.row));
    });
  });

  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("[data-compare]").forEach(compare);
  document.querySelectorAll("[data-flicker]").forEach(flicker);
})();
