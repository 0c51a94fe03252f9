/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Feeds files, or all files of directories, to a fuzz target: what runs as an ordinary
 * test, and what reproduces a finding. Exits 1 when a file cannot be read.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned n_inputs;

static int run_file(const char *path) {
        FILE *file = fopen(path, "rb");
        uint8_t *data = NULL;
        size_t size = 0, room = 0;
        if (file == NULL)
                return -errno;
        while (!feof(file) && !ferror(file)) {
                if (size == room) {
                        room = room != 0 ? 2 * room : 4096;
                        data = realloc(data, room);
                        if (data == NULL)
                                abort();
                }
                size += fread(data + size, 1, room - size, file);
        }
        int r = ferror(file) ? -EIO : 0;
        (void) fclose(file);
        if (r == 0) {
                /* An allocation of the exact size lets the sanitizer see reads behind the end. */
                uint8_t *exact = malloc(size + (size == 0));
                if (exact == NULL)
                        abort();
                if (size > 0)
                        memcpy(exact, data, size);
                (void) LLVMFuzzerTestOneInput(exact, size);
                free(exact);
                n_inputs++;
        }
        free(data);
        return r;
}

static int run_directory(DIR *dir, const char *path) {
        int r = 0;
        for (struct dirent *entry; r == 0 && (entry = readdir(dir)) != NULL;) {
                char name[4096];
                if (entry->d_name[0] == '.')
                        continue;
                (void) snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
                r = run_file(name);
        }
        return r;
}

int main(int argc, char **argv) {
        for (int i = 1; i < argc; i++) {
                DIR *dir = opendir(argv[i]);
                int r = dir != NULL ? run_directory(dir, argv[i]) : run_file(argv[i]);
                if (dir != NULL)
                        (void) closedir(dir);
                if (r < 0) {
                        (void) fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
                        return EXIT_FAILURE;
                }
        }
        (void) printf("%u inputs\n", n_inputs);
        return EXIT_SUCCESS;
}
