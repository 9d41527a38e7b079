import * as net from "node:net";

import { type Client, createClient } from "@connectrpc/connect";
import { compressionGzip, createGrpcTransport } from "@connectrpc/connect-node";

import { ExecService } from "./gen/remex/v1/exec_pb.js";

/** A client of the server at HOST:PORT or unix:/PATH. It connects with the first call, and with as many as follow. */
export function connect(server: string, { gzip = false } = {}): Client<typeof ExecService> {
  const path = /^unix:(?:\/\/)?(\/.*)$/.exec(server)?.[1];
  const transport = createGrpcTransport({
    // Over a Unix socket the host only names an authority, without which HTTP/2 has no call.
    baseUrl: path === undefined ? `http://${server}` : "http://localhost",
    nodeOptions: path === undefined ? {} : { createConnection: () => net.connect(path) },
    ...(gzip && { sendCompression: compressionGzip }),
  });
  return createClient(ExecService, transport);
}
