package example;

import io.grpc.ChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import java.io.IOException;
import java.util.concurrent.TimeUnit;
import remex.v1.ExecServiceGrpc;
import remex.v1.ExecServiceGrpc.ExecServiceBlockingStub;
import remex.v1.ExecServiceGrpc.ExecServiceStub;
import remex.v1.GetServerInfoRequest;
import remex.v1.GetServerInfoResponse;

/**
 * A channel to remexd. Closing it ends the calls that are still open, and with them their commands.
 */
final class Connection implements AutoCloseable {
  private static final String TLS = "https://";
  // Run answers with up to 16 MiB of stdout and as much of stderr; by default 4 MiB are taken.
  private static final int MAX_ANSWER_BYTES = 33 << 20;

  private final EventLoopGroup unixLoop;
  private final ManagedChannel channel;

  /** To HOST:PORT or unix:/PATH, or over TLS to https://HOST:PORT. */
  Connection(String server, Credentials files) throws IOException {
    boolean isTls = server.startsWith(TLS);
    ChannelCredentials credentials = isTls ? files.tls() : files.none();
    NettyChannelBuilder builder;
    if (server.startsWith("unix:")) {
      String path = server.replaceFirst("^unix:(//)?", "");
      unixLoop = new EpollEventLoopGroup(1);
      builder =
          NettyChannelBuilder.forAddress(new DomainSocketAddress(path), credentials)
              .eventLoopGroup(unixLoop)
              .channelType(EpollDomainSocketChannel.class)
              // Else it would be the socket's path, which HTTP/2 refuses as an authority.
              .overrideAuthority("localhost");
    } else {
      unixLoop = null;
      String target = isTls ? server.substring(TLS.length()) : server;
      builder = NettyChannelBuilder.forTarget(target, credentials);
    }
    channel = builder.maxInboundMessageSize(MAX_ANSWER_BYTES).build();
  }

  ExecServiceBlockingStub blocking() {
    return ExecServiceGrpc.newBlockingStub(channel);
  }

  ExecServiceStub async() {
    return ExecServiceGrpc.newStub(channel);
  }

  /**
   * A server that is older than a field drops it unseen, and would do something else than was asked
   * for.
   */
  void require(String feature) {
    GetServerInfoResponse info =
        blocking().getServerInfo(GetServerInfoRequest.getDefaultInstance());
    if (!info.getFeaturesList().contains(feature)) {
      throw new IllegalStateException(
          "the server is of version %s, which has no %s".formatted(info.getVersion(), feature));
    }
  }

  @Override
  public void close() throws InterruptedException {
    channel.shutdownNow().awaitTermination(1, TimeUnit.SECONDS);
    if (unixLoop != null) {
      unixLoop.shutdownGracefully(0, 1, TimeUnit.SECONDS);
    }
  }
}
