// One frame of the camera, taken in a dialog.

import { drawn } from "./pictures.js";

export class Camera {
  /** dialog: with a video, and buttons named take, turn and close. */
  constructor(dialog, show, fail) {
    this.dialog = dialog;
    this.video = dialog.querySelector("video");
    this.facing = "environment"; // a phone's back camera: it looks at what is spoken about
    this.fail = fail;
    dialog.querySelector("[name=take]").addEventListener("click", () => {
      if (!this.video.videoWidth) return;
      show(drawn(this.video, this.video.videoWidth, this.video.videoHeight));
      dialog.close();
    });
    dialog.querySelector("[name=turn]").addEventListener("click", () => {
      this.facing = this.facing === "user" ? "environment" : "user";
      this.start();
    });
    dialog.querySelector("[name=close]").addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => this.stop());
  }

  async open() {
    if (await this.start()) this.dialog.showModal();
  }

  async start() {
    this.stop();
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: this.facing } });
    } catch {
      this.fail("There is no camera, or it may not be used.");
      return false;
    }
    this.video.srcObject = this.stream;
    return true;
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
  }
}
