// Pictures that are dropped, pasted or chosen: made small, as data URLs.

const LONGEST = 512; // pixels of the longer side

/** Listen for pictures on the whole page. show(url): a picture; fail(words): why one cannot be shown. */
export function takePictures(input, show, fail) {
  const take = async (files) => {
    for (const file of files) {
      try {
        show(await smaller(file));
      } catch {
        fail(`${file.name || "That"} is no picture that this browser can read.`);
      }
    }
  };
  input.addEventListener("change", async () => {
    await take([...input.files]);
    input.value = ""; // so that the same one can be chosen again
  });
  document.addEventListener("paste", ({ clipboardData }) => take(pictures(clipboardData)));
  document.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.items].some(({ kind }) => kind === "file")) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    take([...event.dataTransfer.files]);
  });
}

/** What an image or a video shows now, scaled down, on white where it is transparent. */
export function drawn(source, width, height) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const paint = canvas.getContext("2d");
  paint.fillStyle = "white";
  paint.fillRect(0, 0, canvas.width, canvas.height);
  paint.drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.9);
}

async function smaller(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await image.decode();
    return drawn(image, image.naturalWidth || LONGEST, image.naturalHeight || LONGEST); // an SVG may have no size
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

const pictures = (data) => [...data.files].filter(({ type }) => type.startsWith("image/"));
