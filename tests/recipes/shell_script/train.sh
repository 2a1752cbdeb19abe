#!/bin/sh
# A perceptron in awk, with settings from the environment: nothing of Python in it.
set -eu
mkdir -p out
awk -v seed="$SEED" -v epochs="$MAX_LENGTH" -v rate="$RATE" -v bias="$BIAS" 'BEGIN {
    srand(seed + 1)
    for (i = 0; i < 300; i++) { x[i] = 4 * rand(); z[i] = 4 * rand(); y[i] = (x[i] + z[i] + 0.4 * rand() > 5) }
    for (epoch = 1; epoch <= epochs; epoch++) {
        for (i = 0; i < 200; i++) {
            error = y[i] - (a * x[i] + b * z[i] + c > 0)
            a += rate * error * x[i]; b += rate * error * z[i]
            if (bias == "true") c += rate * error * 4
        }
        right = 0
        for (i = 200; i < 300; i++) right += (y[i] == (a * x[i] + b * z[i] + c > 0))
        printf "{\"epoch\": %d, \"val_acc\": %.4f}\n", epoch, right / 100
        fflush()
    }
    print a, b, c > "out/weights.txt"
}'
