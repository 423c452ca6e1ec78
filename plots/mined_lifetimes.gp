# Redraw with `gnuplot mined_lifetimes.gp` in the folder that holds this, both styles and the data.
load 'mined_style.gp'
data = 'mined_lifetimes.tsv'
height = 460
rows = 'sink milestone recurring phoenix local censored birth_silence'
stats data using (note('birth_silence')) nooutput
row(x) = place(rows, strcol('curve')) ? -place(rows, strcol('curve')) : NaN
all(x) = strcol('class') eq 'all' ? row(0) : NaN
head(i) = strcol('class') eq word(head_classes, i) ? row(0) + 0.3 * (int(17 * column('layer') + 3 * column('head')) % 7 - 3) / 3.0 : NaN
least(c) = column(c) < 0.75 ? 0.75 : column(c) # 0 has a place of its own
do for [t in 'svg png'] {
    eval open(t, 'mined_lifetimes')
    eval panel(1, 1)
    set lmargin at screen 0.17
    set style fill solid noborder
    set grid xtics noytics
    set logscale x 2
    set xrange [0.68 : *]
    set yrange [-7.6 : -0.4]
    set xtics nomirror 2
    set xtics add ('0' 0.75)
    set ytics scale 0 ('before first use' -7)
    do for [r = 1:6] { set ytics add (word(rows, r) -r) }
    set xlabel 'queries from birth to last use (last row: to first use)'
    plot data using (least('median')):(all(0)):(least('q1')):'q3':(all(0) - 0.36):(all(0) + 0.36) with boxxyerror lc rgb '#e3e3e3', \
        for [i = 1:4] data using (least('median')):(head(i)) with points pt 7 ps 0.35 lc rgb head_colour(i), \
        data using (least('median')):(all(0)):(least('lo')):'hi' with xerrorbars lw 1.8 pt 7 ps 0.5 lc rgb style_mean
    unset label 99
    heads_points = "for [i = 1:4] NaN with points pt 7 ps 0.5 lc rgb head_colour(i) title (heads_of[i] ? sprintf('%s head, median (%d)', word(head_classes, i), heads_of[i]) : '')"
    eval legend("NaN with boxes lc rgb '#e3e3e3' title 'quartiles, all heads', ".heads_points.", NaN with linespoints lw 1.8 pt 7 ps 0.5 lc rgb style_mean title 'median, 95 %'")
    eval close
}
