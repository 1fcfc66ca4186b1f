"""The life of a job, as values and pure functions.

A job is *submitted* (`pending`), *claimed* by a worker (`running`, with a lease: token and expiry), and *settled* with
an outcome: it ends (`completed`, `failed`, `cancelled`), or becomes pending again (a retry, a release). Nothing in this
package does I/O, reads a clock or draws a random number: time and chance are parameters. Brokers store what these
functions return; that is why every broker makes the same promises.
"""
