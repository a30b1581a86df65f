package listener_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"

	"omca/listener"
)

// A handler finds out once per connection whose certificate it is.
func ExampleConnContext() {
	type memoKey struct{}
	var hook listener.ConnContext = func(ctx context.Context, _ net.Conn) (context.Context, error) {
		return context.WithValue(ctx, memoKey{}, new(atomic.Pointer[string])), nil
	}
	name := func(r *http.Request) string {
		memo := r.Context().Value(memoKey{}).(*atomic.Pointer[string])
		if known := memo.Load(); known != nil {
			return *known
		}
		found := "alice" // what takes its time, from r.TLS.PeerCertificates
		fmt.Println("looked up")
		memo.Store(&found)
		return found
	}

	// The listener does this: once per connection, and then for each request.
	connection, _ := hook(context.Background(), nil)
	for range 2 {
		r, _ := http.NewRequestWithContext(connection, "GET", "/whoami", nil)
		fmt.Println(name(r))
	}
	// Output:
	// looked up
	// alice
	// alice
}
