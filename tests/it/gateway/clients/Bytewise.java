import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;

/** A client of raw that writes byte by byte: Bytewise HOST PORT COMMAND... Prints each reply. */
public class Bytewise {
    public static void main(String[] args) throws IOException {
        try (Socket socket = new Socket(args[0], Integer.parseInt(args[1]))) {
            // As without Nagle's algorithm: each byte is a segment of its own.
            socket.setTcpNoDelay(true);
            DataOutputStream out = new DataOutputStream(socket.getOutputStream());
            DataInputStream in = new DataInputStream(socket.getInputStream());
            byte[] reply = new byte[65536];
            for (int number = 2; number < args.length; number++) {
                out.writeBytes(args[number]);
                int count = in.read(reply);
                System.out.print(new String(reply, 0, count, StandardCharsets.UTF_8));
            }
        }
    }
}
