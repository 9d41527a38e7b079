package example;

import java.io.File;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.logging.Level;
import java.util.logging.Logger;
import remex.v1.Command;

/** A client of remexd in Java: runs a command as if it were local. */
public final class Client {
  private static final int SIGPIPE = 13;
  // Kept, since a logger that nobody holds forgets its level. Below SEVERE grpc-java talks a lot.
  private static final Logger GRPC_LOGGER = Logger.getLogger("io.grpc");
  private static final String USAGE =
      """
      usage: client VERB [SERVER] [FLAG]... -- PROGRAM ARG...
        run      with live output, stdin and signals; --timeout SECONDS, --terminal, --user USER
        capture  to its end, then print its output; --max-bytes N, --gzip
        head     print the first lines of stdout, and break off; --lines N
        start    start what runs on by itself, and print its id
      usage: client attach [SERVER] [--after EVENT] [--outputs N] -- ID
                 join it, behind the event seen last; leave it alone again behind N outputs
      SERVER is --server HOST:PORT or unix:/PATH; over TLS
        --server https://HOST:PORT [--ca FILE] [--cert FILE --key FILE] [--token-file FILE]\
      """;

  private String server = "127.0.0.1:50051";
  private final Credentials credentials = new Credentials();
  private final Command.Builder command = Command.newBuilder();
  private boolean terminal;
  private long maxBytes;
  private boolean gzip;
  private int lines = 10;
  private long after;
  private int outputs;

  private Client() {}

  public static void main(String[] args) {
    GRPC_LOGGER.setLevel(Level.SEVERE);
    System.exit(new Client().main(List.of(args)));
  }

  private int main(List<String> args) {
    int separator = args.indexOf("--");
    if (separator < 1 || separator == args.size() - 1 || !parse(args.subList(1, separator))) {
      System.err.println(USAGE);
      return 2;
    }
    command.addAllArgv(args.subList(separator + 1, args.size()));
    try (Connection connection = new Connection(server, credentials)) {
      return switch (args.get(0)) {
        case "run" -> Run.run(connection, command.build(), terminal);
        case "capture" -> Capture.capture(connection, command.getArgvList(), maxBytes, gzip);
        case "head" -> Head.head(connection, command.getArgvList(), lines);
        case "start" -> Start.start(connection, command.getArgvList());
        case "attach" -> Attach.attach(connection, command.getArgv(0), after, outputs);
        default -> throw new IllegalArgumentException("no verb " + args.get(0));
      };
    } catch (UncheckedIOException error) {
      // Whoever read our output has gone; closing the channel has ended the command.
      return 128 + SIGPIPE;
    } catch (Throwable error) {
      return Outcome.report(error);
    }
  }

  private boolean parse(List<String> flags) {
    var flag = flags.iterator();
    while (flag.hasNext()) {
      switch (flag.next()) {
        case "--terminal" -> terminal = true;
        case "--gzip" -> gzip = true;
        case "--server" -> server = flag.next();
        case "--ca" -> credentials.ca = new File(flag.next());
        case "--cert" -> credentials.cert = new File(flag.next());
        case "--key" -> credentials.key = new File(flag.next());
        case "--token-file" -> credentials.tokenFile = new File(flag.next());
        case "--user" -> command.setUser(flag.next());
        case "--timeout" -> command.setTimeout(Run.seconds(Double.parseDouble(flag.next())));
        case "--max-bytes" -> maxBytes = Long.parseUnsignedLong(flag.next());
        case "--lines" -> lines = Integer.parseInt(flag.next());
        case "--after" -> after = Long.parseUnsignedLong(flag.next());
        case "--outputs" -> outputs = Integer.parseInt(flag.next());
        default -> {
          return false;
        }
      }
    }
    return true;
  }
}
