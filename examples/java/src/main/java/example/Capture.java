package example;

import com.google.protobuf.ByteString;
import java.io.IOException;
import java.util.List;
import remex.v1.Command;
import remex.v1.RunRequest;
import remex.v1.RunResponse;

/** Run: a command to its end with our stdin, and its whole output in one answer. */
final class Capture {
  private Capture() {}

  static int capture(Connection connection, List<String> argv, long maxBytes, boolean gzip)
      throws IOException {
    var stub = connection.blocking();
    if (gzip) {
      stub = stub.withCompression("gzip");
    }
    RunResponse answer =
        stub.run(
            RunRequest.newBuilder()
                .setCommand(Command.newBuilder().addAllArgv(argv))
                .setStdinData(ByteString.readFrom(System.in))
                .setMaxOutputBytes(maxBytes)
                .build());
    Output.write(Output.STDOUT, answer.getStdoutData());
    Output.write(Output.STDERR, answer.getStderrData());
    if (answer.getStdoutTruncated() || answer.getStderrTruncated()) {
      long total = answer.getStdoutBytesTotal() + answer.getStderrBytesTotal();
      System.err.printf("client: cut, of %d bytes in all%n", total);
    }
    return Outcome.exitCode(answer.getExit());
  }
}
