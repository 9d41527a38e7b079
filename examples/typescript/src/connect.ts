import { readFileSync } from "node:fs";
import * as net from "node:net";

import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { compressionGzip, createGrpcTransport } from "@connectrpc/connect-node";

import { ExecService } from "./gen/remex/v1/exec_pb.js";

/** Where remexd listens, and the files of what it and we know each other by. */
export interface Server {
  /** HOST:PORT or unix:/PATH; over TLS https://HOST:PORT, and only there the files. */
  address: string;
  ca?: string;
  cert?: string;
  key?: string;
  tokenFile?: string;
}

/** A client of the server. It connects with the first call, and with as many as follow. */
export function connect(server: Server, { gzip = false } = {}): Client<typeof ExecService> {
  const { address, ca, cert, key, tokenFile } = server;
  if (!address.startsWith("https://") && (ca ?? cert ?? key ?? tokenFile) !== undefined) {
    throw new Error("certificates and tokens are for TLS: --server https://HOST:PORT");
  }
  const path = /^unix:(?:\/\/)?(\/.*)$/.exec(address)?.[1];
  const baseUrl = address.startsWith("https://") ? address : `http://${address}`;
  const transport = createGrpcTransport({
    // Over a Unix socket the host only names an authority, without which HTTP/2 has no call.
    baseUrl: path === undefined ? baseUrl : "http://localhost",
    // Without a CA, those that Node brings along are trusted.
    nodeOptions:
      path === undefined
        ? { ca: read(ca), cert: read(cert), key: read(key) }
        : { createConnection: () => net.connect(path) },
    interceptors: tokenFile === undefined ? [] : [bearer(readFileSync(tokenFile, "utf8").trim())],
    ...(gzip && { sendCompression: compressionGzip }),
  });
  return createClient(ExecService, transport);
}

function read(file: string | undefined): Buffer | undefined {
  return file === undefined ? undefined : readFileSync(file);
}

/** Each call carries the token. */
function bearer(token: string): Interceptor {
  return (next) => (request) => {
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
}
