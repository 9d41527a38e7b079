package example;

import com.google.protobuf.ByteString;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.util.List;
import remex.v1.InteractRequest;
import remex.v1.StdinChunk;
import sun.misc.Signal;

/** The messages to be sent. An observer takes one at a time, so all of them go through here. */
final class Requests {
  private static final int CHUNK_BYTES = 64 << 10;
  // stdin on its way and not yet accepted; below 1 MiB, so that signals always get through.
  private static final long WINDOW_BYTES = 256 << 10;

  private StreamObserver<InteractRequest> observer;
  private long accepted;

  synchronized void begin(StreamObserver<InteractRequest> observer, InteractRequest.Builder first) {
    this.observer = observer;
    put(first);
  }

  synchronized void put(InteractRequest.Builder request) {
    observer.onNext(request.build());
  }

  synchronized void accepted(long position) {
    accepted = position;
    notifyAll();
  }

  private synchronized void awaitRoom(long sent) throws InterruptedException {
    while (sent - accepted >= WINDOW_BYTES) {
      wait();
    }
  }

  void forwardStdin() {
    byte[] buffer = new byte[CHUNK_BYTES];
    long sent = 0;
    try {
      for (int length; (length = System.in.read(buffer)) >= 0; sent += length) {
        awaitRoom(sent);
        ByteString data = ByteString.copyFrom(buffer, 0, length);
        put(chunk(StdinChunk.newBuilder().setOffset(sent).setData(data)));
      }
      put(chunk(StdinChunk.newBuilder().setOffset(sent).setEof(true)));
    } catch (IOException error) {
      System.exit(Outcome.report(error));
    } catch (InterruptedException | IllegalStateException error) {
      // The call has ended, and what it says of the command is on its way.
    }
  }

  private static InteractRequest.Builder chunk(StdinChunk.Builder chunk) {
    return InteractRequest.newBuilder().setStdinChunk(chunk);
  }

  void forwardSignals() {
    for (String name : List.of("INT", "TERM", "HUP")) {
      // Their numbers are Linux's, here and there.
      Signal.handle(
          new Signal(name),
          signal -> put(InteractRequest.newBuilder().setSignalValue(signal.getNumber())));
    }
  }

  void forwardResizes() {
    Signal.handle(
        new Signal("WINCH"),
        signal -> put(InteractRequest.newBuilder().setResize(Terminal.size())));
  }
}
