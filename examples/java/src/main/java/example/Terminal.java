package example;

import java.io.IOException;
import java.lang.ProcessBuilder.Redirect;
import remex.v1.WindowSize;

/**
 * Our terminal, which Java itself does not reach: stty(1) does. While it is open, every key is
 * passed on as it is.
 */
final class Terminal implements AutoCloseable {
  private final String before = stty("-g");

  Terminal() {
    stty("raw", "-echo");
  }

  static WindowSize size() {
    String[] size = stty("size").split(" ");
    return WindowSize.newBuilder()
        .setRows(Integer.parseInt(size[0]))
        .setColumns(Integer.parseInt(size[1]))
        .build();
  }

  @Override
  public void close() {
    stty(before);
  }

  private static String stty(String... arguments) {
    try {
      String[] command = new String[arguments.length + 1];
      command[0] = "stty";
      System.arraycopy(arguments, 0, command, 1, arguments.length);
      Process process = new ProcessBuilder(command).redirectInput(Redirect.INHERIT).start();
      return new String(process.getInputStream().readAllBytes()).strip();
    } catch (IOException error) {
      throw new IllegalStateException("no stty", error);
    }
  }
}
