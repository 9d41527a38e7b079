package example;

import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import java.util.Map;
import java.util.Optional;
import remex.v1.Exit;

/** What came of a command or of a call, as the exit code that a shell would see. */
final class Outcome {
  private static final int FAILURE = 255;
  private static final Map<String, Integer> CODE_OF_REASON =
      Map.of("PROGRAM_NOT_FOUND", 127, "PROGRAM_NOT_EXECUTABLE", 126);
  private static final Metadata.Key<String> REASON =
      Metadata.Key.of("remex-reason", Metadata.ASCII_STRING_MARSHALLER);

  private Outcome() {}

  /** The command's own code, 128+n if signal n ended it, 124 if its timeout did. */
  static int exitCode(Exit exit) {
    switch (exit.getReason()) {
      case REASON_TIMEOUT:
        return 124;
      case REASON_SELF:
      case REASON_SIGNAL:
        // The number: a real-time signal has no name, and would be UNRECOGNIZED.
        if (exit.getSignalValue() != 0) {
          return 128 + exit.getSignalValue();
        }
        if (exit.getCode() >= 0) {
          return exit.getCode();
        }
        break;
      default:
        break;
    }
    throw new IllegalStateException("the command was lost: " + exit.getReason());
  }

  /** Why remexd refused, such as PROGRAM_NOT_FOUND; empty if it was not remexd that did. */
  static Optional<String> reasonOf(StatusRuntimeException error) {
    return Optional.ofNullable(error.getTrailers()).map(trailers -> trailers.get(REASON));
  }

  /**
   * Where no connection came about, "io exception" is all that is said of it, but for the cause.
   */
  private static String description(StatusRuntimeException error) {
    Throwable cause = error;
    while (cause.getCause() != null) {
      cause = cause.getCause();
    }
    String description = error.getStatus().getDescription();
    return cause == error
        ? description
        : description.lines().findFirst().orElse("") + ": " + cause.getMessage();
  }

  /** Tells the user of an error, and returns the exit code for it. */
  static int report(Throwable error) {
    String text = error.getMessage();
    int code = FAILURE;
    if (error instanceof StatusRuntimeException refusal) {
      Optional<String> reason = reasonOf(refusal);
      code = reason.map(CODE_OF_REASON::get).orElse(FAILURE);
      text =
          "%s (%s)"
              .formatted(
                  description(refusal),
                  reason.orElseGet(() -> refusal.getStatus().getCode().name()));
    }
    System.err.println("client: " + text);
    return code;
  }
}
