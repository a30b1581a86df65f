// Package background keeps work going that no request waits for: a panic in it is
// logged with its stack, counted by task, and the work begins again after a pause.
// Without it one panic in one goroutine ends the process, and with it the listener.
//
// It holds no lock for the work. Work that can panic gives its locks back by defer:
// the tests of internal/house see to that. Work that must not begin again on what
// it left half done says so by returning an error instead: see [Panics.Keep].
package background
