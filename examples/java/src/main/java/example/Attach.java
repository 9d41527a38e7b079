package example;

import remex.v1.AttachRequest;
import remex.v1.InteractRequest;

/**
 * Interact: joins what runs on by itself, behind the event that was seen last, and may leave it
 * again.
 */
final class Attach {
  private Attach() {}

  /** Returns the command's exit code, or 0 once so many outputs were seen. */
  static int attach(Connection connection, String executionId, long after, int outputs)
      throws Throwable {
    AttachRequest.Builder attach =
        AttachRequest.newBuilder().setExecutionId(executionId).setAfterSequence(after);
    // Our stdin is the command's from its first byte: what it has of it, the server passes over.
    // To leave is to close the channel, which cancels the call. Were the requests completed
    // instead, that would be the end of the command's stdin.
    var first = InteractRequest.newBuilder().setAttach(attach);
    return Run.interact(connection, first, new Requests(), outputs);
  }
}
