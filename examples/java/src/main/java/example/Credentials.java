package example;

import io.grpc.CallCredentials;
import io.grpc.ChannelCredentials;
import io.grpc.CompositeChannelCredentials;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.util.concurrent.Executor;
import java.util.stream.Stream;

/** The files of what a server and we know each other by, over TLS; each null if it is not named. */
final class Credentials {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  File ca;
  File cert;
  File key;
  File tokenFile;

  /** Without TLS. */
  ChannelCredentials none() {
    if (Stream.of(ca, cert, key, tokenFile).anyMatch(file -> file != null)) {
      throw new IllegalArgumentException(
          "certificates and tokens are for TLS: --server https://HOST:PORT");
    }
    return InsecureChannelCredentials.create();
  }

  /** Over TLS. Without a CA, those that Java brings along are trusted. */
  ChannelCredentials tls() throws IOException {
    TlsChannelCredentials.Builder builder = TlsChannelCredentials.newBuilder();
    if (ca != null) {
      builder.trustManager(ca);
    }
    if (cert != null && key != null) {
      builder.keyManager(cert, key);
    }
    ChannelCredentials tls = builder.build();
    if (tokenFile == null) {
      return tls;
    }
    String token = Files.readString(tokenFile.toPath()).strip();
    return CompositeChannelCredentials.create(tls, bearer(token));
  }

  /** Each call carries the token. */
  private static CallCredentials bearer(String token) {
    Metadata headers = new Metadata();
    headers.put(AUTHORIZATION, "Bearer " + token);
    return new CallCredentials() {
      @Override
      public void applyRequestMetadata(
          RequestInfo call, Executor executor, MetadataApplier applier) {
        applier.apply(headers);
      }
    };
  }
}
