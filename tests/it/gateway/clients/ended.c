/* A client of raw whose requests end with NUL and whose replies end with EOT: ended HOST PORT COMMAND... Prints each reply. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    int peer = socket(AF_INET, SOCK_STREAM, 0);
    if (argc < 3 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) {
        return 2;
    }
    address.sin_port = htons(atoi(argv[2]));
    if (connect(peer, (struct sockaddr *)&address, sizeof address) != 0) {
        return 3;
    }
    for (int number = 3; number < argc; number++) {
        const char *command = argv[number];
        size_t half = strlen(command) / 2;
        /* In two pieces, the second with its NUL. */
        if (send(peer, command, half, 0) < 0 || send(peer, command + half, strlen(command + half) + 1, 0) < 0) {
            return 4;
        }
        for (char byte; read(peer, &byte, 1) == 1 && byte != 4;) {
            putchar(byte);
        }
    }
    return close(peer);
}
