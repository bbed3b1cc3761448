// The connection to the host: one stream of events, opened again and again for as long as the page is seen.

const KEY = "tidemill-token";
/** Pauses between two attempts, in milliseconds: they double. */
const SOONEST = 500;
const LATEST = 8_000;
/** A stream that says nothing for so long is dead: the host repeats itself every few seconds. */
const SILENCE = 30_000;
/** A question that takes longer has no answer. */
const PATIENCE = 10_000;

const stored = (read) => {
  try {
    return read(window.sessionStorage);
  } catch {
    return null; // a browser that keeps nothing: the token lives as long as the page
  }
};
let token = stored((s) => s.getItem(KEY));

/** Takes the token from the page's address, and out of it. */
export function takeToken() {
  const here = new URL(location.href);
  if (!here.searchParams.has("token")) return;
  keepToken(here.searchParams.get("token"));
  here.searchParams.delete("token");
  history.replaceState(null, "", here);
}

export function keepToken(value) {
  token = value;
  stored((s) => s.setItem(KEY, value));
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export class Live {
  /** `on.state` hears "connecting", "live", "reconnecting", "locked" or "paused". */
  constructor(on) {
    this.on = on;
    this.run = 0; // a newer run ends the older ones
  }

  /** Begins, or begins again, with that range. */
  start(range) {
    this.stop();
    this.range = range;
    this.loop(this.run);
  }

  stop() {
    this.run += 1;
    this.source?.close();
    this.source = null;
  }

  pause() {
    this.stop();
    this.on.state("paused");
  }

  async loop(run) {
    let wait = SOONEST;
    for (;;) {
      const answer = await this.ask();
      if (run !== this.run) return;
      if (answer === 401) {
        this.on.state("locked", Boolean(token));
        return;
      }
      if (answer) {
        this.on.status(answer);
        if (await this.listen(run)) wait = SOONEST;
        if (run !== this.run) return;
      }
      this.on.state("reconnecting");
      await pause(wait);
      if (run !== this.run) return;
      wait = Math.min(LATEST, wait * 2);
    }
  }

  /** Asks for the status first: a stream does not say why it is refused. */
  async ask() {
    try {
      const headers = token ? { Authorization: `Bearer ${token}` } : {};
      const answer = await fetch("api/status", { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      if (answer.status === 401) return 401;
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }

  /** Listens until the stream ends; whether it said anything. */
  listen(run) {
    const query = new URLSearchParams({ range: this.range, ...(token ? { token } : {}) });
    const source = new EventSource(`api/live?${query}`);
    this.source = source;
    return new Promise((ended) => {
      let heard = false;
      let timer;
      const end = () => {
        clearTimeout(timer);
        source.close();
        ended(heard);
      };
      const alive = () => {
        clearTimeout(timer);
        timer = setTimeout(end, SILENCE);
      };
      alive();
      source.onerror = end;
      for (const name of ["status", "activity"]) {
        source.addEventListener(name, (event) => {
          if (run !== this.run) return end();
          heard = true;
          alive();
          this.on.state("live");
          this.on[name](JSON.parse(event.data));
        });
      }
    });
  }
}
