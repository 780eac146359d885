#!/bin/sh
# Makes the certificates that 06-tls.yaml names, in the folder "certs" (or the one that is given): an authority, a server's
# certificate and a client's. Nothing else needs them, and they are good for a month: throw them away.
set -eu
folder=${1:-certs}
mkdir -p "$folder"
cd "$folder"

ec() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

ec ca.key
openssl req -x509 -new -key ca.key -days 30 -subj "/CN=an authority for a try" -out ca.pem

sign() { # NAME USAGE ALTERNATIVE-NAMES
    ec "$1.key"
    printf 'subjectAltName=%s\nextendedKeyUsage=%s\nkeyUsage=critical,digitalSignature\nbasicConstraints=CA:FALSE\n' \
        "$3" "$2" > "$1.ext"
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.pem" 2> /dev/null
    rm "$1.csr" "$1.ext"
}

sign server serverAuth "DNS:localhost,IP:127.0.0.1"
sign client clientAuth "URI:spiffe://example.org/client"
chmod 600 ./*.key
