"""The style sheet of the report: look at it with ``python -m tools.report shards``.

The colours of data are variables: s0 and s1 for the two directions, k0 to k3 for how often characters occur (never is
a warning, the rest goes from little to much). Both sets were chosen for their own background, light or dark.
"""

STYLE = """
:root{color-scheme:light;--page:#f7f7f5;--card:#fff;--ink:#1b1b19;--soft:#5c5b57;--line:#deddd8;--s0:#2a78d6;
  --s1:#d9622b;--k0:#d03b3b;--k1:#b7d3f6;--k2:#6da7ec;--k3:#1c5cab}
@media (prefers-color-scheme:dark) {
  :root{color-scheme:dark;--page:#131312;--card:#1c1c1a;--ink:#f2f1ec;--soft:#a9a8a1;--line:#373632;--s0:#5598e7;
  --s1:#e0743f;--k0:#e66767;--k1:#184f95;--k2:#3987e5;--k3:#9ec5f4}
}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI","Noto Sans","Noto Sans SC",sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.5rem;margin:0 0 4px}
h2{font-size:1.15rem;margin:40px 0 4px}
h3{font-size:.95rem;margin:16px 0 6px}
p{margin:4px 0 12px;max-width:75ch}
.soft,small,figcaption,.xname,.x,.y{color:var(--soft)}
small{font-size:.8rem;margin-left:6px}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px;margin:8px 0;overflow:hidden}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:12px}
.pair .card{margin:0}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;min-width:100%}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:600;color:var(--soft)}
tr:last-child td{border-bottom:0}
th:first-child,td:first-child{text-align:left}
.bars{display:grid;gap:3px}
.bar{display:grid;grid-template-columns:minmax(7.5em,24%) 1fr 4.2em;gap:10px;align-items:center}
.name{overflow-wrap:anywhere;line-height:1.25}
.value{text-align:right;font-variant-numeric:tabular-nums}
.track{display:block;height:14px}
.track i{display:block;height:100%;background:var(--s0);border-radius:0 4px 4px 0;min-width:1px}
.stack{display:flex;gap:2px}
.stack i{border-radius:2px}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 8px}
.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
i.k0,.stack i.k0{background:var(--k0)}
i.k1,.stack i.k1{background:var(--k1)}
i.k2,.stack i.k2{background:var(--k2)}
i.k3,.stack i.k3{background:var(--k3)}
.legend i.s0{background:var(--s0)}
.legend i.s1{background:var(--s1)}
.plot{display:grid;grid-template-columns:3.4em 1fr;margin:0;padding-right:1.2em}
.plot figcaption{grid-column:1/3;margin-bottom:8px}
.plot svg{width:100%;height:210px;border-bottom:1px solid var(--line);overflow:visible}
.y,.x{position:relative;font-size:.8rem}
.y span{position:absolute;right:8px;transform:translateY(50%)}
.x{grid-column:2;height:1.5em}
.x span{position:absolute;transform:translateX(-50%);top:4px}
.xname{grid-column:2;text-align:center;font-size:.85rem;margin-top:4px}
rect.s0{fill:var(--s0)}
rect.s1{fill:var(--s1)}
rect:hover{opacity:.7}
.grid{stroke:var(--line);vector-effect:non-scaling-stroke}
polyline{fill:none;stroke-width:2;vector-effect:non-scaling-stroke}
.l0{stroke:var(--s0)}
.l1{stroke:var(--s1);stroke-dasharray:7 5}
.sheet{display:flex;flex-wrap:wrap;gap:14px 16px;align-items:flex-start}
.sheet figure{margin:0;max-width:100%}
.sheet img{display:block;max-width:100%;height:auto;border:1px solid var(--line)}
.label{font-size:1.05rem;overflow-wrap:anywhere}
.sheet.v figure{width:6.2em}
.sheet small{display:block;margin:0;overflow-wrap:anywhere}
.rare{display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:8px}
.rare div{border:1px solid var(--line);border-radius:6px;padding:8px;text-align:center}
.rare img{height:44px;max-width:100%;display:block;margin:0 auto 4px}
.rare b{font-size:1.3rem;font-weight:400;margin-right:6px}
"""
