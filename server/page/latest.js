// One job at a time, and only the newest one waits: dragging keeps the picture moving without a queue behind it.

/** `job(signal)` runs soon after ask(); asking again while it runs makes it run once more with what is then true. */
export class Latest {
  #job;
  #delay;
  #timer = 0;
  #wanted = false;
  #running = null;

  constructor(job, delayMilliseconds) {
    this.#job = job;
    this.#delay = delayMilliseconds;
  }

  ask() {
    this.#wanted = true;
    if (!this.#running && !this.#timer) this.#timer = setTimeout(() => this.#run(), this.#delay);
  }

  /** Abort what runs and forget what waits: its input no longer exists. */
  stop() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#wanted = false;
    this.#running?.abort();
    this.#running = null;
  }

  async #run() {
    this.#timer = 0;
    this.#wanted = false;
    const mine = new AbortController();
    this.#running = mine;
    try {
      await this.#job(mine.signal);
    } finally {
      if (this.#running === mine) {
        this.#running = null;
        if (this.#wanted) this.ask();
      }
    }
  }
}
