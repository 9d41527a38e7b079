package example;

import com.google.protobuf.Duration;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import remex.v1.Command;
import remex.v1.Event;
import remex.v1.GetServerInfoRequest;
import remex.v1.GetServerInfoResponse;
import remex.v1.InteractResponse;
import remex.v1.Output.Stream;
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
      require(connection, "user");
    }
    if (!terminal) {
      return interact(connection, command, new Requests());
    }
    WindowSize size = Terminal.size();
    var like = remex.v1.Terminal.newBuilder().setRows(size.getRows()).setColumns(size.getColumns());
    try (Terminal ours = new Terminal()) {
      Requests requests = new Requests();
      requests.forwardResizes();
      return interact(connection, command.toBuilder().setTerminal(like).build(), requests);
    }
  }

  /**
   * A server that is older than a field drops it unseen, and would run the command as its own user.
   */
  private static void require(Connection connection, String feature) {
    GetServerInfoResponse info =
        connection.blocking().getServerInfo(GetServerInfoRequest.getDefaultInstance());
    if (!info.getFeaturesList().contains(feature)) {
      throw new IllegalStateException(
          "the server is of version %s, which has no %s".formatted(info.getVersion(), feature));
    }
  }

  private static int interact(Connection connection, Command command, Requests requests)
      throws Throwable {
    CompletableFuture<Integer> code = new CompletableFuture<>();
    var observer = connection.async().interact(new Responses(requests, code));
    requests.start(observer, StartRequest.newBuilder().setCommand(command).build());
    requests.forwardSignals();
    Thread stdin = new Thread(requests::forwardStdin, "stdin");
    stdin.setDaemon(true);
    stdin.start();
    try {
      return code.get();
    } catch (ExecutionException error) {
      throw error.getCause();
    }
  }

  /**
   * Writes output as it comes; the exit code is in the last event. A slow write slows the command,
   * not the memory.
   */
  private record Responses(Requests requests, CompletableFuture<Integer> code)
      implements StreamObserver<InteractResponse> {
    @Override
    public void onNext(InteractResponse response) {
      requests.accepted(response.getStdinAcceptedBytes());
      try {
        handle(response.getEvent());
      } catch (RuntimeException error) {
        // Thrown from here, it would become a status without its cause.
        code.completeExceptionally(error);
      }
    }

    private void handle(Event event) {
      switch (event.getKindCase()) {
        case OUTPUT -> {
          boolean isStderr = event.getOutput().getStream() == Stream.STREAM_STDERR;
          Output.write(isStderr ? Output.STDERR : Output.STDOUT, event.getOutput().getData());
        }
        case EXITED -> code.complete(Outcome.exitCode(event.getExited().getExit()));
        default -> {}
      }
    }

    @Override
    public void onError(Throwable error) {
      code.completeExceptionally(error);
    }

    @Override
    public void onCompleted() {
      code.completeExceptionally(
          new IllegalStateException("the server stopped telling what the command does"));
    }
  }
}
