// Samples as the protocol carries them: PCM16 at 24 kHz, in base64.

export const RATE = 24000;

/** Base64 of an ArrayBuffer. */
export function toBase64(buffer) {
  const bytes = new Uint8Array(buffer);
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}

/** Base64 PCM16 as samples in -1..1. */
export function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const levels = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length >> 1 }, (_, n) => levels.getInt16(2 * n, true) / 32768);
}
