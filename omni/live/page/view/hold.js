// A button that is held down: by pointer, by the space bar anywhere outside of fields, or by the keyboard on itself.

/** active(): whether holding means anything now; press() and release() are called in turns. */
export function holdable(button, { active, press, release }) {
  let held = false;
  const down = () => {
    if (held || !active()) return;
    held = true;
    press();
  };
  const up = () => {
    if (!held) return;
    held = false;
    release();
  };
  button.addEventListener("pointerdown", (event) => {
    if (!active() || event.button !== 0) return;
    button.setPointerCapture(event.pointerId);
    down();
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(end, up);
  button.addEventListener("contextmenu", (event) => active() && event.preventDefault()); // a long touch is no menu
  document.addEventListener("keydown", (event) => {
    if (event.code !== "Space" || !active() || taken(event.target, button)) return;
    event.preventDefault();
    if (!event.repeat) down();
  });
  document.addEventListener("keyup", (event) => {
    if (event.code !== "Space" || !held) return;
    event.preventDefault(); // or a button that has the focus would be clicked
    up();
  });
  window.addEventListener("blur", up); // its keyup would never come
}

/** Whether the space bar means something else there. */
function taken(target, button) {
  return target !== button && target.closest?.("input, textarea, select, button, a, summary, dialog") !== null;
}
