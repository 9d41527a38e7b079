package example;

import com.google.protobuf.Duration;
import java.util.concurrent.ExecutionException;
import remex.v1.Command;
import remex.v1.InteractRequest;
import remex.v1.StartRequest;
import remex.v1.WindowSize;

/** Interact: a command as if it were local, with live output, stdin, signals, a terminal. */
final class Run {
  private Run() {}

  static Duration seconds(double seconds) {
    long nanos = Math.round(seconds * 1e9);
    return Duration.newBuilder()
        .setSeconds(nanos / 1_000_000_000)
        .setNanos((int) (nanos % 1_000_000_000))
        .build();
  }

  static int run(Connection connection, Command command, boolean terminal) throws Throwable {
    if (!command.getUser().isEmpty()) {
      connection.require("user");
    }
    if (!terminal) {
      return interact(connection, start(command), new Requests(), 0);
    }
    WindowSize size = Terminal.size();
    var like = remex.v1.Terminal.newBuilder().setRows(size.getRows()).setColumns(size.getColumns());
    try (Terminal ours = new Terminal()) {
      Requests requests = new Requests();
      requests.forwardResizes();
      var first = start(command.toBuilder().setTerminal(like).build());
      return interact(connection, first, requests, 0);
    }
  }

  private static InteractRequest.Builder start(Command command) {
    return InteractRequest.newBuilder().setStart(StartRequest.newBuilder().setCommand(command));
  }

  /**
   * Sends the first message, then our stdin and signals; the command is left behind so many
   * outputs.
   */
  static int interact(
      Connection connection, InteractRequest.Builder first, Requests requests, int outputs)
      throws Throwable {
    Responses responses = new Responses(requests, outputs);
    requests.begin(connection.async().interact(responses), first);
    requests.forwardSignals();
    Thread stdin = new Thread(requests::forwardStdin, "stdin");
    stdin.setDaemon(true);
    stdin.start();
    try {
      return responses.code().get();
    } catch (ExecutionException error) {
      throw error.getCause();
    }
  }
}
