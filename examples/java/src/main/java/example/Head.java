package example;

import com.google.protobuf.ByteString;
import io.grpc.Context;
import java.util.Iterator;
import java.util.List;
import remex.v1.Command;
import remex.v1.Event;
import remex.v1.ExecServiceGrpc.ExecServiceBlockingStub;
import remex.v1.Output.Stream;
import remex.v1.StartRequest;
import remex.v1.StartResponse;
import remex.v1.WaitRequest;
import remex.v1.WaitResponse;

/** Start: the first lines of a command's output, and then the stream is broken off. */
final class Head {
  private Head() {}

  static int head(Connection connection, List<String> argv, int lines) throws Exception {
    ExecServiceBlockingStub stub = connection.blocking();
    String executionId;
    // Leaving the loop does not end the call: until its context is closed, the command runs on.
    try (Context.CancellableContext call = Context.current().withCancellation()) {
      executionId = call.call(() -> printHead(stub, argv, lines));
    }
    WaitResponse ended = stub.wait(WaitRequest.newBuilder().setExecutionId(executionId).build());
    System.err.println("client: ended, " + ended.getExecution().getExit().getReason());
    return 0;
  }

  /** Prints so many lines of what argv writes to stdout, and returns the execution's id. */
  private static String printHead(ExecServiceBlockingStub stub, List<String> argv, int lines) {
    Command command = Command.newBuilder().addAllArgv(argv).build();
    Iterator<StartResponse> responses =
        stub.start(StartRequest.newBuilder().setCommand(command).build());
    String executionId = "";
    while (lines > 0 && responses.hasNext()) {
      Event event = responses.next().getEvent();
      if (event.hasStarted()) {
        executionId = event.getStarted().getExecutionId();
      }
      if (event.getOutput().getStream() != Stream.STREAM_STDOUT) {
        continue;
      }
      ByteString data = event.getOutput().getData();
      int end = 0;
      while (end < data.size() && lines > 0) {
        if (data.byteAt(end++) == '\n') {
          lines--;
        }
      }
      Output.write(Output.STDOUT, data.substring(0, end));
    }
    return executionId;
  }
}
