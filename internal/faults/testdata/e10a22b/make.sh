#!/usr/bin/env bash
# Makes home.tar.gz beside itself, by a build of commit e10a22b: OMCA=/path/to/that/omca ./make.sh
# README.md says what is in it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
omca=${OMCA:?the path of a binary of commit e10a22b}
port=${PORT:-21985}
work=$(mktemp -d)
cd "$work"
umask 077
export OMCA_HOME=$work/home
unset OMCA_SERVER OMCA_CONTEXT OMCA_TOKEN
daemon=
trap 'if [ -n "$daemon" ]; then kill "$daemon" || true; fi; rm -rf "$work"' EXIT
mkdir clients lists tokens

start() {
    "$omca" daemon run --listen "127.0.0.1:$port" --node-name old1 "$@" 2>>daemon.log &
    daemon=$!
    until "$omca" --quiet daemon status >status 2>&1; do kill -0 "$daemon"; done
}
stop() { kill "$daemon"; wait "$daemon"; daemon=; }

# keep NAME: the chain and the key of a user, as NAME has them now.
keep() {
    "$omca" "system/usr/$1" key decode --name certificate_chain >"clients/$2.pem"
    "$omca" "system/usr/$1" key decode --name private_key >>"clients/$2.pem"
}
# user NAME [KEYWORD…]: a user whose certificate lives for long.
user() {
    local name=$1 kw=()
    shift
    for one in "$@"; do kw+=(--kw "$one"); done
    "$omca" "system/usr/$name" create --kw validity=70y "${kw[@]}"
    keep "$name" "$name"
}
revoke() { "$omca" "system/usr/$1" certificate revoke --reason "$2"; }
# authority PATH [KEYWORD…]: a CA whose key is here.
authority() {
    local path=$1 kw=()
    shift
    for one in "$@"; do kw+=(--kw "$one"); done
    "$omca" "$path" create --kw profile=ca --kw validity=80y "${kw[@]}"
    "$omca" "$path" certificate create
}
# foreign NAME LINES ARGS…: a CA made by openssl, with these lines among its extensions; self-signed without ARGS.
foreign() {
    local name=$1
    printf '[req]\ndistinguished_name=d\nx509_extensions=e\nprompt=no\n[d]\nCN=%s\n[e]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n%b' "$name" "$2" >"$name.cnf"
    shift 2
    openssl ecparam -name prime256v1 -genkey -noout -out "$name.key"
    openssl req -x509 -new -key "$name.key" -days 29000 -config "$name.cnf" "$@" -out "$name.pem"
}
# imported NAME LINES: such a CA below the cluster's, imported with its key.
imported() {
    "$omca" system/sec/ca key decode --name private_key >root.key
    foreign "$1" "$2" -CA ca.pem -CAkey root.key
    cat "$1.pem" ca.pem >"$1.chain"
    "$omca" "system/sec/ca-$1" create --kw profile=ca
    "$omca" "system/sec/ca-$1" key change --name private_key --from "$1.key"
    "$omca" "system/sec/ca-$1" key change --name certificate_chain --from "$1.chain"
}

start --cluster-name old
"$omca" system/sec/ca config update --set validity=80y
"$omca" system/sec/ca certificate renew

# The first set of the cluster's CA, which another key replaces.
user early grant=guest:ns1
user gone grant=guest:ns1
revoke gone keyCompromise
"$omca" system/sec/ca key decode --name certificate >former.pem
"$omca" system/sec/ca certificate renew --rekey --yes
"$omca" config update --set validity=70y
"$omca" certificate create
"$omca" system/sec/ca key decode --name certificate_chain >ca.pem

# Users of the cluster's CA, one of them revoked, one with a password and tokens.
user alice grant=root
user bob grant=guest:ns1
revoke bob keyCompromise
user frank grant="admin:ns1 guest:ns2" roles=api
"$omca" system/usr/frank key add --name password --value 'correct horse battery'
"$omca" token issue --subject frank --duration 24h >tokens/access
"$omca" token issue --subject frank --duration 24h >tokens/revoked
"$omca" token issue --subject frank --refresh -o json >tokens/refresh.json
"$omca" token issue --profile clustercockpit --subject frank >tokens/clustercockpit
"$omca" token revoke "$(cut -d. -f2 tokens/revoked | tr '_-' '/+' | base64 -d 2>/dev/null | sed 's/.*"jti":"\([^"]*\)".*/\1/')"

# A subordinate CA.
authority ns1/sec/sub ca=system/sec/ca cn='sub CA'
user vic grant=guest:ns1 ca=ns1/sec/sub
user vera grant=root ca=ns1/sec/sub
revoke vera privilegeWithdrawn

# A subordinate CA whose object is gone.
authority ns1/sec/lost ca=system/sec/ca cn='lost CA'
user lea grant=guest:ns1 ca=ns1/sec/lost
user leo grant=root ca=ns1/sec/lost
revoke leo keyCompromise
"$omca" ns1/sec/lost delete --yes

# A CA made elsewhere, with its key and without a key identifier.
imported no-ski 'subjectKeyIdentifier=none\n'
user nora grant=guest:ns1 ca=system/sec/ca-no-ski
user nick grant=root ca=system/sec/ca-no-ski
revoke nick keyCompromise

# The backup knows nothing of what follows.
printf 'correct horse battery staple\n' >phrase
"$omca" backup backup.omca --backup-passphrase-file phrase

# More users of the cluster's CA: they live, or each was revoked for a reason of its own.
user carl grant=guest:ns1
"$omca" system/usr/carl certificate renew --rekey --revoke
cp clients/carl.pem clients/carl-before.pem
keep carl carl
user dora grant=guest:ns1
"$omca" certificate revoke "$("$omca" system/usr/dora key decode --name serial_number)" --reason affiliationChanged
user eve grant=guest:ns1
"$omca" system/usr/eve delete --yes
user gus grant=guest:ns1 disabled=true

# A CA below the subordinate one.
authority ns1/sec/subsub ca=ns1/sec/sub cn='sub sub CA' validity=79y
user wanda grant=guest:ns1 ca=ns1/sec/subsub
user wilma grant=guest:ns1 ca=ns1/sec/subsub
revoke wilma cessationOfOperation

# A subordinate CA that is revoked itself.
authority ns1/sec/taken ca=system/sec/ca cn='taken CA'
user tara grant=guest:ns1 ca=ns1/sec/taken
"$omca" ns1/sec/taken certificate revoke --reason cACompromise --yes

# A subordinate CA with another key under another name.
authority ns1/sec/moved ca=system/sec/ca cn='moved CA'
user mia grant=guest:ns1 ca=ns1/sec/moved
user max grant=guest:ns1 ca=ns1/sec/moved
revoke max superseded
"$omca" ns1/sec/moved config update --set cn='moved CA of today'
"$omca" ns1/sec/moved certificate renew --rekey --yes

# Two CAs made elsewhere, with their keys and with one key identifier.
imported twin1 'subjectKeyIdentifier=00:01:02:03:04:05:06:07\n'
imported twin2 'subjectKeyIdentifier=00:01:02:03:04:05:06:07\n'
user tina grant=guest:ns1 ca=system/sec/ca-twin1
user tom grant=guest:ns1 ca=system/sec/ca-twin1
revoke tom affiliationChanged
user tess grant=guest:ns1 ca=system/sec/ca-twin2

# A CA whose key is elsewhere, and its list, which is in the store.
foreign corp 'subjectKeyIdentifier=hash\n'
printf '[ca]\ndefault_ca=c\n[c]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=29200\ncrlnumber=number\n' >corp-ca.cnf
: >index
echo 01 >number
printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n' >client.ext
for name in hugo hans; do
    "$omca" system/usr/$name create --kw grant=guest:ns1 --kw validity=70y
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $name.key -out $name.csr -subj /CN=$name 2>/dev/null
    openssl x509 -req -in $name.csr -CA corp.pem -CAkey corp.key -days 25000 -extfile client.ext -out $name.crt 2>/dev/null
    cat $name.crt $name.key >clients/$name.pem
done
openssl ca -config corp-ca.cnf -revoke hans.crt -keyfile corp.key -cert corp.pem 2>/dev/null
openssl ca -config corp-ca.cnf -gencrl -keyfile corp.key -cert corp.pem -out corp.crl 2>/dev/null
"$omca" system/sec/ca-corp create
"$omca" system/sec/ca-corp key add --name certificate_chain --from corp.pem
"$omca" system/sec/crl-corp create
"$omca" system/sec/crl-corp key add --name crl --from corp.crl
"$omca" cluster config update --set cluster.ca+=system/sec/ca-corp --set cluster.crl+=system/sec/crl-corp

# A service and its former certificate, requests that were signed, secrets.
"$omca" ns1/sec/web create --kw cn=web.example.com --kw validity=70y
"$omca" ns1/sec/web certificate create
serial=$("$omca" ns1/sec/web key decode --name serial_number)
"$omca" ns1/sec/web certificate renew
"$omca" certificate revoke "$serial" --reason superseded
for name in signed-living signed-revoked; do
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $name.key -out $name.csr -subj /CN=alice 2>/dev/null
    "$omca" certificate sign $name.csr --profile usr --owner system/usr/alice --validity 70y >clients/$name.pem
    cat $name.key >>clients/$name.pem
done
"$omca" certificate revoke "$(openssl x509 -in clients/signed-revoked.pem -noout -serial | cut -d= -f2)" --reason unspecified
"$omca" ns1/sec/db create
"$omca" ns1/sec/db key add --name password --value hunter2
"$omca" ns1/cfg/app create
"$omca" ns1/cfg/app key add --name text --value 'in clear'

# A session.
curl -sS --fail --cacert ca.pem -c cookies -H 'Content-Type: application/json' -d '{"name":"frank","password":"correct horse battery"}' "https://localhost:$port/api/auth/login" >session.json
awk '$6 == "__Host-omca-session" { print $7 }' cookies >tokens/session

# What is published when the build is left: the lists, by the names that last.
sleep 2 # until they have what was revoked last
"$omca" crl status -o json >lists/status.json
sed -n 's|.*"lasting_url": "\(/.*\)".*|\1|p' lists/status.json | while read -r url; do
    curl -sS --fail --cacert ca.pem -o "lists/$(basename "$url")" "https://localhost:$port$url"
done
"$omca" certificate ls -o json >inventory.json
"$omca" ca history system/sec/ca -o json >history.json
stop
rm -f home/omca.sock home/omca.db.journal-* # of a store that was closed the journal holds nothing
date -u +%Y-%m-%dT%H:%M:%SZ >made

tar --sort=name --owner=0 --group=0 --numeric-owner -czf "$here/home.tar.gz" home clients lists tokens ca.pem former.pem inventory.json history.json phrase backup.omca made
ls -l "$here/home.tar.gz"
