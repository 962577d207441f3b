// Package acmeclient obtains certificates from a certificate authority that speaks ACME (RFC 8555), by the dns-01
// challenge alone.
//
// A [Client] is one account at one CA. Its methods are the protocol, one each: [Client.Register], [Client.NewOrder],
// [Client.Authorization], [Client.AcceptChallenge], [Client.Finalize] and so on. [Client.Obtain] is all of them in their
// order, with a [Solver] that puts the challenge's values into the DNS, and it returns only certificates that it has
// checked: the right key, exactly the names, a chain in which each certificate is signed by the next.
//
// What it promises: every method ends when its context does, waits included. No request leaves for anything but HTTPS,
// except on the loopback interface. Every reply is bounded. A failure of the CA reaches the caller in the CA's own words, as
// a [*Problem], with the domain that it concerns.
//
// What it does not do: keep anything on disk, choose when to renew (but see [RenewalTime]), look anything up in the DNS,
// decide whether a root is trusted.
package acmeclient
