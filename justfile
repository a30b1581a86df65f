# Each recipe is a line that can be typed without just.

# list the recipes
default:
    @just --list --unsorted

# run the daemon, with its home in ./bin/home
run *FLAGS:
    go run ./cmd/omca --home bin/home daemon run {{FLAGS}}

# build the one binary, stripped, and without the manual pages of urfave/cli, whose parser costs every start
build:
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -tags urfave_cli_no_docs -o bin/ ./cmd/omca

# the tests, in seconds
test *FLAGS:
    go test {{FLAGS}} ./...

# all that has to pass before a change is merged
check:
    .ci/run

# vet, staticcheck and the rules of the house
lint:
    go vet ./... && go tool staticcheck ./... && go test ./internal/house

# one script of the command line: just script wire_key
script NAME:
    go test ./cmd/omca -run '^TestScripts$/^{{NAME}}$' -v

# measure a real daemon and keep the figures in docs/performance.md
bench *FLAGS:
    go run ./internal/bench -write docs/performance.md {{FLAGS}}

# the benchmarks of one package: just microbench ./pki
microbench PACKAGE="./...":
    go test -run '^$' -bench . -benchmem {{PACKAGE}}

# take each check out and see its test fail: just controls -only seal,revoked
controls *FLAGS:
    go run ./internal/controls {{FLAGS}}

# look for what breaks a parser: just fuzz ./pki FuzzParsePrivateKey 5m
fuzz PACKAGE NAME TIME="30s":
    go test -run '^$' -fuzz '^{{NAME}}$' -fuzztime {{TIME}} {{PACKAGE}}
