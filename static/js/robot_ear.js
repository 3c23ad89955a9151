// Listening as long as a button is held, by the speech recognition that some browsers have.
//
// A recognition ends by itself after a pause, and only some time after it was asked to: while the button is still
// held, or is held again, the next one goes on from what was heard.

/** {hold, release}, or null where the browser cannot listen. `heard(text)` so far, `failed(error)` as the browser names
 *  it, `began()` and `ended()`. */
export function listener({ heard, failed, began, ended }) {
  const Recognition = globalThis.SpeechRecognition ?? globalThis.webkitSpeechRecognition;
  if (!Recognition) return null;
  let ear = null;
  let held = false;
  let before = ""; // what earlier recognitions heard while the button was held

  const listen = () => {
    let text = "";
    ear = Object.assign(new Recognition(), { lang: "en-US", interimResults: true, continuous: true });
    ear.onresult = ({ results }) => {
      text = [before, ...Array.from(results, ([best]) => best.transcript.trim())].filter(Boolean).join(" ");
      heard(text);
    };
    ear.onerror = ({ error }) => {
      held = false;
      if (error !== "aborted") failed(error);
    };
    ear.onend = () => {
      ear = null;
      before = text || before;
      if (held) listen();
      else ended();
    };
    ear.start();
  };

  return {
    hold() {
      if (held) return;
      held = true;
      before = "";
      began();
      if (!ear) listen();
    },
    release() {
      held = false;
      ear?.stop();
    },
  };
}
