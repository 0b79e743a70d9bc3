// One handler computes, and the event loop with the listener does not get its turn.
const server = require('http').createServer((request, response) => {
  require('fs').writeSync(1, 'hung\n');
  for (const end = Date.now() + 120e3; Date.now() < end;);
  response.end();
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
