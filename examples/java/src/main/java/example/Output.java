package example;

import com.google.protobuf.ByteString;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;

/** Our stdout and stderr, as bytes, and not through System.out, which swallows what goes wrong. */
final class Output {
  static final OutputStream STDOUT = new FileOutputStream(FileDescriptor.out);
  static final OutputStream STDERR = new FileOutputStream(FileDescriptor.err);

  private Output() {}

  static void write(OutputStream out, ByteString data) {
    try {
      data.writeTo(out);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }
}
