/** A transport and what goes through it: which ids were written, and how often the worker ended each. */
import type { Connection, Listener, Transport } from "../src/index.js";
import { Lines } from "../src/lines.js";

export class Watched implements Transport {
  readonly written = new Set<number>();
  readonly endings = new Map<number, number>();
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  start(listener: Listener): Connection {
    const lines = new Lines();
    const connection = this.#transport.start({
      data: (chunk) => {
        for (const line of lines.push(chunk)) this.#count(JSON.parse(line));
        listener.data(chunk);
      },
      end: (ending) => listener.end(ending),
    });
    const write = connection.write.bind(connection);
    connection.write = (line) => {
      this.written.add(JSON.parse(line).id);
      return write(line);
    };
    return connection;
  }

  #count({ type, id }: { type: string; id: number }): void {
    if (type !== "progress") this.endings.set(id, 1 + (this.endings.get(id) ?? 0));
  }
}
