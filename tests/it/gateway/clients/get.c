/* A client of json-header that saves the reply to `get NAME` under the header's filename: get HOST PORT FOLDER COMMAND... */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* As Python writes them. */
static const char KEY[] = "\"filename\": \"";
static const char SIZE[] = "\"total_size\": ";

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    int peer = socket(AF_INET, SOCK_STREAM, 0);
    if (argc < 4 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) {
        return 2;
    }
    address.sin_port = htons(atoi(argv[2]));
    if (connect(peer, (struct sockaddr *)&address, sizeof address) != 0 || chdir(argv[3]) != 0) {
        return 3;
    }
    for (int number = 4; number < argc; number++) {
        static char header[4096], data[1024];
        int32_t length;
        if (send(peer, argv[number], strlen(argv[number]), 0) < 0 || recv(peer, &length, 4, 0) != 4 ||
            length < 0 || (size_t)length >= sizeof header || recv(peer, header, length, 0) != length) {
            return 4;
        }
        header[length] = 0;
        char *name = strstr(header, KEY), *size = strstr(header, SIZE);
        if (name == NULL || size == NULL) {
            return 5;
        }
        long left = atol(size + strlen(SIZE));
        FILE *file = fopen(strtok(name + strlen(KEY), "\""), "wb");
        while (left > 0) {
            long got = recv(peer, data, sizeof data, 0);
            if (got <= 0 || file == NULL || fwrite(data, 1, got, file) != (size_t)got) {
                return 6;
            }
            left -= got;
        }
        if (file == NULL || fclose(file) != 0) {
            return 7;
        }
    }
    return close(peer);
}
