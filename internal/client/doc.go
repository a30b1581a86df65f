// Package client is the HTTP client of omca's API: one typed call for each thing that the API does.
//
// It talks over any [http.RoundTripper]: the daemon's unix socket ([Unix]), the network ([Network]), or the handlers
// themselves when no daemon runs. What a call answers does not depend on which.
//
// It reads no flag and no environment, prints nothing, and retries nothing. A server on the network is always verified unless
// [NetworkConfig].Insecure says otherwise. Answers are bounded before they are read. A refusal of the API is an [*Error];
// a server that could not be reached is [ErrUnreachable].
//
// Times are UTC. Serial numbers are lower-case hexadecimal without separators. Certificates, chains and requests are PEM.
package client
