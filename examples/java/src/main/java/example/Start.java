package example;

import io.grpc.Context;
import java.util.Iterator;
import java.util.List;
import remex.v1.Command;
import remex.v1.ExecServiceGrpc.ExecServiceBlockingStub;
import remex.v1.OnDisconnect;
import remex.v1.StartRequest;
import remex.v1.StartResponse;

/** Start: a command that runs on without us, whatever becomes of its callers and of remexd. */
final class Start {
  private Start() {}

  /** Starts the command, prints its id, and leaves it alone. */
  static int start(Connection connection, List<String> argv) throws Exception {
    connection.require("durable");
    StartRequest request =
        StartRequest.newBuilder()
            .setCommand(Command.newBuilder().addAllArgv(argv))
            .setOnDisconnect(OnDisconnect.ON_DISCONNECT_DETACH)
            // For those who attach to it.
            .setStdinOpen(true)
            .build();
    ExecServiceBlockingStub stub = connection.blocking();
    try (Context.CancellableContext call = Context.current().withCancellation()) {
      return call.call(() -> printId(stub.start(request)));
    }
  }

  private static int printId(Iterator<StartResponse> responses) {
    if (!responses.hasNext()) {
      throw new IllegalStateException("the server did not start the command");
    }
    System.out.println(responses.next().getEvent().getStarted().getExecutionId());
    return 0;
  }
}
