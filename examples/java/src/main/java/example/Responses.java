package example;

import io.grpc.stub.StreamObserver;
import java.util.concurrent.CompletableFuture;
import remex.v1.Event;
import remex.v1.InteractResponse;
import remex.v1.Output.Stream;

/**
 * Writes output as it comes; the exit code is in the last event. A slow write slows the command,
 * not the memory.
 */
final class Responses implements StreamObserver<InteractResponse> {
  private final Requests requests;
  private final CompletableFuture<Integer> code = new CompletableFuture<>();
  private int outputs;

  /** The command is left alone behind so many outputs; 0: never. */
  Responses(Requests requests, int outputs) {
    this.requests = requests;
    this.outputs = outputs;
  }

  /** Our exit code, once it is known. */
  CompletableFuture<Integer> code() {
    return code;
  }

  @Override
  public void onNext(InteractResponse response) {
    if (code.isDone()) {
      return;
    }
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
        if (--outputs == 0) {
          System.err.println("client: left behind event " + event.getSequence());
          code.complete(0);
        }
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
